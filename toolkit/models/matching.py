"""Holds the tensors of a checkpoint against those that a layout has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from toolkit.checkpoint.header import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.geometry import CONFIG_HINT, Spec
from toolkit.models.layout import Format
from toolkit.numerics import nvfp4

MISSING_HINT = "Is the download complete, and num_hidden_layers in config.json right?"
NO_SCALE_HINT = "The export has no activation scale; calibrate it again with ModelOpt"
AGAIN_HINT = "export the checkpoint again without it"
DTYPE_HINT = "Export the checkpoint again with ModelOpt 0.37 or later"
UNTRANSPOSED_HINT = (
    "Block scales run along out: the defect of ModelOpt 0.35.0 and 0.35.1; export again with 0.37 or later"
)


def stored_as(found: Mapping[str, TensorInfo], name: str, where: str) -> Format:
    """The format that tensor ``name`` speaks for; BF16 for any other dtype, which ``check_tensors`` then names."""
    if name not in found:
        raise _missing(name, where)
    if name.endswith("_blocks"):
        return "mxfp4"
    formats: Mapping[str, Format] = {"U8": "nvfp4", "F8_E4M3": "fp8"}
    return formats.get(found[name].dtype, "bf16")


def check_tensors(
    found: Mapping[str, TensorInfo],
    wanted: Iterable[tuple[str, Spec]],
    optional: Mapping[str, Spec],
    where: str,
    architecture: str,
) -> None:
    """Raises ``CheckpointError`` unless ``found`` is all of ``wanted`` and beyond that only what is ``optional``.

    ``wanted`` is read no further than the first tensor that is missing or differs.
    """
    expected: set[str] = set()
    for name, spec in wanted:
        if name not in found:
            raise _missing(name, where)
        _check(found[name], spec, where)
        expected.add(name)
    for name, info in found.items():
        if name in optional:
            _check(info, optional[name], where)
        elif name not in expected:
            raise CheckpointError(
                f"unknown tensor {name!r}",
                where=f"{where}/{info.shard}",
                hint=_near(name, expected) or f"trtkit knows what ModelOpt exports of {architecture}; {AGAIN_HINT}",
            )


def _near(name: str, expected: Iterable[str]) -> str | None:
    """The name in the same layer that the export may have meant."""
    layer = name.split(".")[:3]
    near = difflib.get_close_matches(name, sorted(other for other in expected if other.split(".")[:3] == layer), n=1)
    return f"Did the export mean {near[0]!r}?" if near else None


def _missing(name: str, where: str) -> CheckpointError:
    hint = NO_SCALE_HINT if name.endswith("input_scale") else MISSING_HINT
    return CheckpointError(f"tensor {name!r} is missing", where=where, hint=hint)


def _check(info: TensorInfo, spec: Spec, where: str) -> None:
    if (info.dtype, info.shape) == spec:
        return
    found, wanted = f"{info.dtype} {list(info.shape)}", f"{spec[0]} {list(spec[1])}"
    hint = CONFIG_HINT if info.dtype == spec[0] else DTYPE_HINT
    if info.name.endswith("_weight_scale") and is_untransposed(info.shape, spec[1]):
        hint = UNTRANSPOSED_HINT
    raise CheckpointError(f"is {found}, not {wanted}", where=f"{where}/{info.shard}, tensor {info.name!r}", hint=hint)


def is_untransposed(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether fused experts' block scales are [E, in, out/16] where [E, in/16, out] is wanted."""
    if len(wanted) != 3:
        return False
    experts, k_blocks, n = wanted
    return found == (experts, k_blocks * nvfp4.BLOCK, n // nvfp4.BLOCK)
