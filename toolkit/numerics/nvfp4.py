"""NVFP4 as NVIDIA ModelOpt 0.37 writes and reads it, bit for bit.

``packed``        uint8, two E2M1 codes a byte along K, low nibble first
``scale``         uint8, one FP8 E4M3 block scale for 16 consecutive values of K
``global_scale``  one float32 a tensor, amax / (6 · 448)

Linears store K last: packed [o, K/2], scale [o, K/16] (``axis=-1``). Fused experts store it before the last axis:
packed [E, K/2, o], scale [E, K/16, o] (``axis=-2``).

    value = E2M1[code] · fl32(fl32(scale) · global_scale), in float32, then cast

Code 8 decodes to +0.0, as ModelOpt's own table has it. Source: ``modelopt/torch/quantization/qtensor/nvfp4_tensor.py``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import CheckpointError
from toolkit.numerics import backend, bf16, e2m1, fp8

BLOCK = 16
_BLOCK_BYTES = BLOCK // 2
_CHUNK = 1 << 18  # values quantised at a time, to bound the temporaries

E2M1 = np.where(np.arange(16) == 8, np.float32(0), e2m1.VALUES)
"""Value of each code, float32."""

Axis = Literal[-1, -2]


def dequantize(
    packed: NDArray[np.uint8],
    scale: NDArray[np.uint8],
    global_scale: float,
    *,
    axis: Axis = -1,
    out: NDArray[Any] | None = None,
    dtype: e2m1.FloatType = "float32",
) -> NDArray[Any]:
    """Decode to float32, or to BF16 (uint16 bits, rounded to nearest even), with twice the extent along ``axis``.

    ``out`` must be C-contiguous and of the result's shape and type. A NaN scale byte (0x7F, 0xFF) decodes its block to
    NaN. Raises CheckpointError if ``scale`` does not have one byte for 8 packed bytes along ``axis``.
    """
    shape = _decoded_shape(packed, scale, axis)
    if out is None:
        out = backend.empty(shape, e2m1.storage(dtype))
    elif out.shape != shape or out.dtype != e2m1.storage(dtype) or not out.flags.c_contiguous:
        raise ValueError(f"out must be a C-contiguous {np.dtype(e2m1.storage(dtype))} array of shape {shape}")
    if out.size == 0:
        return out
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        scales = fp8.E4M3 * np.float32(global_scale)
    if axis == -1:
        e2m1.decode_rows(packed.reshape(-1), scale.reshape(-1), E2M1, scales, out.reshape(-1))
    else:
        columns = shape[-1]
        packed_BPN, scale_BN = packed.reshape(-1, _BLOCK_BYTES, columns), scale.reshape(-1, columns)
        e2m1.decode_columns(packed_BPN, scale_BN, E2M1, scales, out.reshape(-1, _BLOCK_BYTES, 2, columns))
    return out


def _decoded_shape(packed: NDArray[np.uint8], scale: NDArray[np.uint8], axis: Axis) -> tuple[int, ...]:
    expected, shape = list(packed.shape), list(packed.shape)
    expected[axis] //= _BLOCK_BYTES
    shape[axis] *= 2
    if packed.shape[axis] % _BLOCK_BYTES or list(scale.shape) != expected:
        raise CheckpointError(
            f"NVFP4 block scales of shape {list(scale.shape)} do not fit packed weights of shape {list(packed.shape)}: "
            f"one scale for {_BLOCK_BYTES} bytes along axis {axis} would be {expected}"
        )
    return tuple(shape)


def quantize(
    values: NDArray[Any],
    *,
    axis: Axis = -1,
    global_scale: float | None = None,
    out: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], np.float32]:
    """(packed, scale, global_scale) of ``values``, float32 or BF16 bits; K is ``axis``, a multiple of 16.

    ``out`` is where packed and scale go, C-contiguous. BF16 is what the compiled kernels take; float32 is NumPy's.

    Without ``global_scale`` it is amax / 2688. ModelOpt's edge cases are kept: a block of zeros gets scale 1.0; a block
    too small for E4M3 gets scale 0 and codes 7 or 15; a tensor of zeros gets global scale 0 and NaN block scales.
    """
    if values.shape[axis] % BLOCK:
        raise CheckpointError(f"axis {axis} of shape {list(values.shape)} is not a multiple of {BLOCK}")
    scale_2 = _global_scale(values) if global_scale is None else np.float32(global_scale)
    packed, scale = _quantized_memory(values.shape, axis) if out is None else out
    native = backend.codecs()
    if native is not None and values.dtype == np.uint16 and np.isfinite(scale_2) and scale_2 >= 0:
        native.encode(values, axis, float(scale_2), packed, scale)
    elif axis == -1:
        blocks, packed_BP, scale_B = values.reshape(-1, BLOCK), packed.reshape(-1, _BLOCK_BYTES), scale.reshape(-1)
        _quantize_rows(blocks, scale_2, packed_BP, scale_B)
    else:
        by_rows = quantize(values.swapaxes(-1, -2), global_scale=float(scale_2))
        for memory, part in zip((packed, scale), by_rows[:2], strict=True):
            memory[...] = part.swapaxes(-1, -2)
    return packed, scale, scale_2


def _global_scale(values: NDArray[Any]) -> np.float32:
    if values.dtype == np.uint16:
        amax = bf16.to_f32(np.array((values & np.uint16(0x7FFF)).max()))
    else:
        amax = np.abs(values).max()
    return np.float32(amax / np.float32(6 * fp8.MAX))


def _quantized_memory(shape: tuple[int, ...], axis: Axis) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    packed, scale = list(shape), list(shape)
    packed[axis] //= 2
    scale[axis] //= BLOCK
    return np.empty(packed, np.uint8), np.empty(scale, np.uint8)


def _quantize_rows(
    blocks: NDArray[Any], scale_2: np.float32, packed_BP: NDArray[np.uint8], scale_B: NDArray[np.uint8]
) -> None:
    for begin in range(0, len(blocks), _CHUNK // BLOCK):
        part = slice(begin, begin + _CHUNK // BLOCK)
        values = blocks[part] if blocks.dtype == np.float32 else bf16.to_f32(blocks[part])
        scale_B[part] = _block_scales(values, scale_2)
        packed_BP[part] = e2m1.pack(_codes(values, fp8.decode_e4m3(scale_B[part]) * scale_2))


def fake_quantize_activation(values: NDArray[np.float32], input_scale: float) -> NDArray[np.float32]:
    """What W4A4 hardware multiplies with: activations [..., K] rounded to NVFP4 blocks along K and decoded again.

    The block scales are dynamic, the tensor scale is the calibrated ``input_scale``. Arithmetic as in ``quantize``.
    """
    if values.shape[-1] % BLOCK:
        raise CheckpointError(f"the last axis of shape {list(values.shape)} is not a multiple of {BLOCK}")
    blocks = values.reshape(-1, BLOCK)
    scale_2 = np.float32(input_scale)
    real_scale = fp8.decode_e4m3(_block_scales(blocks, scale_2)) * scale_2
    decoded: NDArray[np.float32] = E2M1[_codes(blocks, real_scale)] * real_scale[:, None]
    return decoded.reshape(values.shape)


def _block_scales(blocks: NDArray[np.float32], scale_2: np.float32) -> NDArray[np.uint8]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = np.abs(blocks).max(axis=-1) / (np.float32(6) * scale_2)
    return fp8.encode_e4m3(np.where(scale == 0, np.float32(1), scale))


def _codes(blocks: NDArray[np.float32], real_scale: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Nearest E2M1 code, ties to the even one; NaN becomes code 7; a negative that rounds to zero becomes code 8."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scaled = blocks / real_scale[:, None]
    magnitude = np.abs(scaled)
    code = np.full(magnitude.shape, 7, np.uint8)
    for bound in (0.25, 1.25, 2.5, 5.0):  # the even code lies below
        code -= magnitude <= np.float32(bound)
    for bound in (0.75, 1.75, 3.5):  # the even code lies above
        code -= magnitude < np.float32(bound)
    return code | (scaled < 0).astype(np.uint8) << np.uint8(3)
