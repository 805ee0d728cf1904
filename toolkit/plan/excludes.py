"""The exclude list that a checkpoint's tensors ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolkit.checkpoint.header import TensorInfo
from toolkit.inspection.defects import excluded_but_quantised, unlisted_linears
from toolkit.inspection.modules import modules


def corrected(tensors: Mapping[str, TensorInfo], excludes: Sequence[str]) -> tuple[str, ...]:
    """``excludes`` without repeats and without what is stored quantised, plus the projections stored unquantised.

    Equal to ``excludes`` where the list agrees with the tensors.
    """
    found = modules(tensors)
    if not excluded_but_quantised(found, excludes):
        return (*dict.fromkeys(excludes), *(module.name for module in unlisted_linears(found, excludes)))
    kept = [entry for entry in dict.fromkeys(excludes) if not excluded_but_quantised(found, (entry,))]
    return (*kept, *(module.name for module in unlisted_linears(found, kept)))
