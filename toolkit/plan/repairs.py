"""Defects of an export that a plan repairs: the tensors as they should be, and the actions that make them so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from toolkit.checkpoint.header import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.inspection.defects import missing_input_scales, untransposed_scales
from toolkit.numerics import nvfp4
from toolkit.plan.rewrite import Changes, fill_one, keep, rescale, take

Tensors = Mapping[str, TensorInfo]


def repair(
    tensors: Tensors, where: str, *, bf16: Tensors | None, input_scales: Tensors | None
) -> tuple[dict[str, TensorInfo], Changes]:
    """``where`` names the checkpoint; ``bf16`` and ``input_scales`` are the headers of the recipe's other ones.

    A recipe that names ``input_scales`` means them: they take the place of the checkpoint's own.

    Raises ``CheckpointError`` where one of them lacks what the repair needs, and for wrong block scales without
    ``bf16``.
    """
    sound, changes = dict(tensors), Changes()
    for name in untransposed_scales(tensors):
        if bf16 is None:
            what = "block scales run along out: the defect of ModelOpt 0.35.0 and 0.35.1"
            hint = "Set checkpoint.bf16 to the BF16 model that it was made from, or export again with 0.37 or later"
            raise CheckpointError(what, where=f"{where}/{tensors[name].shard}, tensor {name!r}", hint=hint)
        packed = name.removesuffix("_weight_scale")
        experts, half, n = tensors[packed].shape
        shape = (experts, 2 * half // nvfp4.BLOCK, n)
        _need(bf16, packed, ("BF16", (experts, 2 * half, n)), "checkpoint.bf16")
        sound[name] = replace(tensors[name], shape=shape)
        changes[name] = (rescale(name, packed, shape),)
    for name in missing_input_scales(tensors):
        beside = _global_scale(name)
        sound[name] = replace(tensors[beside], name=name)
        change = take(name) if input_scales is not None else fill_one(name, "no-input-scale")
        changes[beside] = (keep(tensors[beside]), change)
    if input_scales is not None:
        changes |= {name: (take(name),) for name in tensors if name.endswith("input_scale")}
    return sound, changes


def check_taken(changes: Changes, input_scales: Tensors | None) -> None:
    """Every input scale to be taken is there as one F32 value; raises ``CheckpointError``."""
    for name in _borrowed(changes):
        _need(input_scales or {}, name, ("F32", ()), "checkpoint.input_scales")


def _borrowed(changes: Changes) -> Iterator[str]:
    for actions in changes.values():
        yield from (name for action in actions if action.kind == "take" for name in action.borrowed)


def _global_scale(input_scale: str) -> str:
    return input_scale.removesuffix("input_scale") + "weight_scale_2"


def _need(found: Tensors, name: str, spec: tuple[str, tuple[int, ...]], where: str) -> None:
    info = found.get(name)
    if info is None:
        hint = f"Set {where} to the checkpoint of the same model, or leave it out"
        raise CheckpointError(f"tensor {name!r} is missing", where=where, hint=hint)
    if (info.dtype, info.shape) != spec:
        what = f"is {info.dtype} {list(info.shape)}, not {spec[0]} {list(spec[1])}"
        hint = f"Set {where} to the checkpoint of the same model"
        raise CheckpointError(what, where=f"{where}, tensor {name!r}", hint=hint)
