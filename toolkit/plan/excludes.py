"""The exclude list that a checkpoint's tensors ask for."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence

from toolkit.checkpoint.header import TensorInfo
from toolkit.inspection.defects import excluded_but_quantised, exclusion, unlisted_linears, unlisted_others
from toolkit.inspection.modules import Module, modules

_QUANTISED = ("U8", "F8_E4M3")


def corrected(tensors: Mapping[str, TensorInfo], excludes: Sequence[str]) -> tuple[str, ...]:
    """``excludes`` without repeats and without what is stored quantised, plus the projections stored unquantised.

    An entry that goes leaves behind every unquantised module that it covered, routers and lm_head as well. Equal to
    ``excludes`` where the list agrees with the tensors of Linears.
    """
    once = tuple(dict.fromkeys(excludes))
    if _agree(tensors, once):
        return once
    found = modules(tensors)
    wrong = [entry for entry in once if excluded_but_quantised(found, (entry,))]
    kept = [entry for entry in once if entry not in wrong]
    covered = exclusion(wrong)
    others = (module for module in unlisted_others(found, kept) if covered(module.name))
    return (*kept, *_names([*unlisted_linears(found, kept), *others], found))


def _agree(tensors: Mapping[str, TensorInfo], excludes: Sequence[str]) -> bool:
    """Whether the list has every projection that is stored unquantised, and nothing that is quantised.

    From the names of weights alone: sorting 70,000 tensors of experts into modules costs more than the plan.
    """
    listed = exclusion(excludes)
    holders: set[str] = set()
    for name, info in tensors.items():
        stem = name.removesuffix(".weight")
        if stem != name and info.dtype in _QUANTISED:
            while stem not in holders:
                holders.add(stem)
                stem = stem.rpartition(".")[0]
        elif stem.endswith("_proj") and not listed(stem):
            return False
    return not any(fnmatch.filter(holders, e) if set(e) & set("*?[") else e in holders for e in excludes)


def _names(wanted: Sequence[Module], found: Sequence[Module]) -> Iterator[str]:
    """In the order of the checkpoint."""
    names = {module.name for module in wanted}
    return (module.name for module in found if module.name in names)
