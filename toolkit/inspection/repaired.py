"""The tensors as they would be without the defects that have a finding of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.checkpoint.header import TensorInfo
from toolkit.inspection.defects import missing_input_scales, redundant_tensors, untransposed_scales
from toolkit.numerics.nvfp4 import BLOCK


def as_repaired(tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> dict[str, TensorInfo]:
    """Headers only, so that comparing them with an architecture's says what else is wrong."""
    redundant = set(redundant_tensors(tensors, config))
    sound = {name: info for name, info in tensors.items() if name not in redundant}
    for name in untransposed_scales(tensors):
        experts, rows, columns = tensors[name.removesuffix("_weight_scale")].shape
        sound[name] = replace(tensors[name], shape=(experts, 2 * rows // BLOCK, columns))
    for name in missing_input_scales(tensors):
        beside = tensors[name.removesuffix("input_scale") + "weight_scale_2"]
        sound[name] = replace(beside, name=name)
    return sound
