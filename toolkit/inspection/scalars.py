"""Known defects that show in the values of scalar scales, one pure function each.

``scalars`` maps tensor name to value, as ``toolkit.checkpoint.scales.read_scalars`` reads them: whatever is stored, NaN
and zero included. Each function returns the tensors that have the defect, in checkpoint order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

Scalars = Mapping[str, float]

TENSOR_SCALES = ("weight_scale_2", "weight_global_scale")
INPUT_SCALES = ("input_scale", "input_global_scale")
KV_SCALES = (".k_scale", ".v_scale")
FALLBACK = 0.5 / 2688
"""ModelOpt's input_scale of a quantiser that saw no data: its last resort is an amax of 0.5."""

_FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def unusable(scalars: Scalars, suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Scales that are NaN, infinite, zero or negative, which no calibrated quantiser writes.

    A ``weight_scale_2`` of 0 is ModelOpt's for a tensor of zeros, which then decodes to NaN.
    """
    return tuple(name for name, value in scalars.items() if name.endswith(suffixes) and not _usable(value))


def uncalibrated(scalars: Scalars) -> tuple[str, ...]:
    """Activation scales that are ModelOpt's fallback."""
    found = ((name, value) for name, value in scalars.items() if name.endswith("input_scale"))
    return tuple(name for name, value in found if math.isclose(value, FALLBACK, rel_tol=1e-4))


def copied_input_scales(scalars: Scalars) -> tuple[str, ...]:
    """``down_proj_input_scale`` of fused experts that equals ``gate_up_proj_input_scale``; 1.0 is a constant, no copy.

    ModelOpt 0.41.0 to 0.45.0 with transformers 5 write it: the quantiser of down_proj's input saw no data.
    """
    down = "down_proj_input_scale"
    pairs = ((n, scalars.get(n.removesuffix(down) + "gate_up_proj_input_scale")) for n in scalars if n.endswith(down))
    return tuple(name for name, other in pairs if scalars[name] == other != 1.0 and _usable(scalars[name]))


def unequal_fused_scales(scalars: Scalars) -> tuple[tuple[str, ...], ...]:
    """Scales that differ within q, k and v, or gate and up: runtimes fuse those into one matrix with one scale.

    ModelOpt takes the maximum over each group before it exports.
    """
    return tuple(group for group in _fused_groups(scalars) if len({scalars[name] for name in group}) > 1)


def _fused_groups(scalars: Scalars) -> Iterator[tuple[str, ...]]:
    for name in scalars:
        head, _, scale = name.rpartition(".")
        stem, _, projection = head.rpartition(".")
        if scale not in ("weight_scale_2", "input_scale"):
            continue
        for members in _FUSED:
            names = tuple(f"{stem}.{member}.{scale}" for member in members)
            if projection == members[0] and all(_usable(scalars.get(other, math.nan)) for other in names):
                yield names


def all_one(scalars: Scalars, suffixes: tuple[str, ...] = KV_SCALES) -> tuple[str, ...]:
    """Every scale of these suffixes if each is exactly 1.0; ModelOpt 0.37 raises FP8 KV scales to at least that."""
    names = tuple(name for name in scalars if name.endswith(suffixes))
    return names if all(scalars[name] == 1.0 for name in names) else ()


def shared_over_experts(scalars: Scalars) -> tuple[str, ...]:
    """Layers whose experts have one and the same down_proj input scale, as ModelOpt 0.47 with transformers 5 writes it.

    Returns the name of each such layer's experts module. 1.0 is a constant, not a maximum.
    """
    values: dict[str, list[float]] = {}
    for name, value in scalars.items():
        if match := re.fullmatch(r"(.+\.experts)\.\d+\.down_proj\.input_scale", name):
            values.setdefault(match[1], []).append(value)
    return tuple(name for name, found in values.items() if _shared(found))


def _shared(values: Sequence[float]) -> bool:
    return len(values) > 1 and len(set(values)) == 1 and values[0] != 1.0 and _usable(values[0])


def _usable(value: float) -> bool:
    return 0 < value < math.inf
