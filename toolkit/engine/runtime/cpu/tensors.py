"""Reading single tensors for the CPU runtime: shape, dtype and the states that would run but answer garbage.

Axes: E experts, I inputs, O outputs. Layout of ModelOpt NVFP4: Linears packed [O, I/2] with block scales [O, I/16],
experts packed [E, I/2, O] with block scales [E, I/16, O]; one FP32 ``weight_scale_2`` and ``input_scale`` a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.scales import place, read_block_scales, read_scalar_scale
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.numerics import bf16, nvfp4
from toolkit.numerics.ops import F32

BLOCK = nvfp4.BLOCK
PLAIN = ("BF16", "F16", "F32")


@dataclass(frozen=True, slots=True)
class Packed:
    """One NVFP4 tensor as stored; ``axis`` is the packed one, ``input_scale`` None where the file has none."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.uint8]
    global_scale: float
    input_scale: float | None
    axis: Literal[-1, -2]

    def dequantized(self) -> F32:
        values: F32 = nvfp4.dequantize(self.codes, self.scales, self.global_scale, axis=self.axis)
        return values


@dataclass(frozen=True, slots=True)
class RoutedExperts:
    """Expert matrices [O, I] that are dequantised each time they are asked for."""

    packed: Packed

    def __getitem__(self, expert: int, /) -> F32:
        stored = self.packed
        values_IO: F32 = nvfp4.dequantize(
            stored.codes[expert], stored.scales[expert], stored.global_scale, axis=stored.axis
        )
        return values_IO.T


def is_packed(checkpoint: Checkpoint, name: str) -> bool:
    """Whether ``name`` holds NVFP4 codes: the dtype tells, the exclude list may not. Raises if it is not there."""
    dtype = _expect(checkpoint, name).dtype
    if dtype not in (*PLAIN, "U8"):
        raise CheckpointError(
            f"dtype is {dtype}, but must be U8 (NVFP4) or {', '.join(PLAIN)}", where=_at(checkpoint, name)
        )
    return dtype == "U8"


def read_plain(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> F32:
    """A BF16, F16 or F32 tensor as float32."""
    if is_packed(checkpoint, name):
        raise CheckpointError(f"dtype is U8, but must be {', '.join(PLAIN)}", where=_at(checkpoint, name))
    _expect_shape(checkpoint, name, shape)
    array = checkpoint.array(name)
    return bf16.to_f32(array) if array.dtype == np.uint16 else np.array(array, np.float32)


def read_raw(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A BF16 tensor as its bits, mapped from the file; other plain dtypes as float32."""
    if _expect(checkpoint, name).dtype != "BF16":
        return read_plain(checkpoint, name, shape)
    _expect_shape(checkpoint, name, shape)
    return checkpoint.array(name)


def read_linear(checkpoint: Checkpoint, prefix: str, outputs: int, inputs: int) -> Packed:
    """``prefix.weight`` and its scales, packed along the last axis."""
    names = [f"{prefix}.{part}" for part in ("weight", "weight_scale", "weight_scale_2", "input_scale")]
    return _read_packed(checkpoint, names, (outputs, inputs), axis=-1)


def read_experts(checkpoint: Checkpoint, prefix: str, experts: int, inputs: int, outputs: int) -> Packed:
    """The fused experts ``prefix`` and their scales, packed along axis -2."""
    names = [f"{prefix}{part}" for part in ("", "_weight_scale", "_weight_scale_2", "_input_scale")]
    scale = names[1]
    if _expect(checkpoint, scale).shape == (experts, inputs, outputs // BLOCK):
        what = f"expert block scales are {[experts, inputs, outputs // BLOCK]}, along the outputs"
        need = f"must be {[experts, inputs // BLOCK, outputs]}: the export defect of ModelOpt 0.35.x"
        hint = "Export the model again with ModelOpt 0.37.0 or later"
        raise CheckpointError(f"{what}, but {need}", where=_at(checkpoint, scale), hint=hint)
    return _read_packed(checkpoint, names, (experts, inputs, outputs), axis=-2)


def _read_packed(checkpoint: Checkpoint, names: list[str], shape: tuple[int, ...], axis: Literal[-1, -2]) -> Packed:
    weight, scale, global_scale, input_scale = names
    _expect(checkpoint, global_scale)
    _expect_shape(checkpoint, weight, _divided(shape, axis, 2))
    _expect_shape(checkpoint, scale, _divided(shape, axis, BLOCK))
    return Packed(
        codes=checkpoint.array(weight),
        scales=read_block_scales(checkpoint, scale),
        global_scale=read_scalar_scale(checkpoint, global_scale),
        input_scale=read_scalar_scale(checkpoint, input_scale) if input_scale in checkpoint.tensors else None,
        axis=axis,
    )


def _divided(shape: tuple[int, ...], axis: int, by: int) -> tuple[int, ...]:
    sizes = list(shape)
    sizes[axis] //= by
    return tuple(sizes)


def _expect(checkpoint: Checkpoint, name: str) -> TensorInfo:
    if name not in checkpoint.tensors:
        raise CheckpointError(f"tensor {name!r} is missing", where=str(checkpoint.folder))
    return checkpoint.tensors[name]


def _expect_shape(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> None:
    found = _expect(checkpoint, name).shape
    if found != shape:
        raise CheckpointError(f"shape is {list(found)}, but must be {list(shape)}", where=_at(checkpoint, name))


def _at(checkpoint: Checkpoint, name: str) -> str:
    return place(checkpoint.folder, checkpoint.tensors[name])
