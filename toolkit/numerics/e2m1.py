"""E2M1, the 4-bit element of NVFP4 and MXFP4: codes, packing, and the table kernels that decode both.

A code is sign 1, exponent 2 (bias 1), mantissa 1. Two codes share a byte: element 2i of the packed (K) axis in the
low nibble, element 2i + 1 in the high one (OCP Microscaling Formats 1.0; ModelOpt ``nvfp4_tensor.py``).

Every kernel computes fl32(values[code] · scales[scale byte]), ``values`` [16] and ``scales`` [256] being float32, then
casts. They look values up rather than compute them: to float32 four at a time without the scale, which is multiplied
in afterwards, else two at a time with the scale and the cast already in the table. Scratch is bounded by ``_BLOCK``,
whatever the tensor's size, and made once a call: buffers of that size would be mapped and faulted in anew at each step.

Legend: B blocks of the K axis (leading axes included), P packed bytes of one block, N columns, H halves of a byte.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.numerics import backend, bf16

FloatType = Literal["float32", "bfloat16"]
VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""Value of each code, code 8 as -0.0."""

_BLOCK = 1 << 17  # packed bytes at a time; measured: 10 % faster than a quarter of it, 2 % slower than twice as much
_SCALE_BYTES = 8  # packed bytes that one scale byte covers
_EIGHT_TIMES = np.arange(256, dtype=np.uint64) * np.uint64(0x0101010101010101)


def storage(dtype: FloatType) -> type[np.float32] | type[np.uint16]:
    """The NumPy type that holds ``dtype``: BF16 travels as uint16 bits."""
    return np.float32 if dtype == "float32" else np.uint16


def pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes [..., K/2] of codes [..., K]."""
    return codes[..., 0::2] | codes[..., 1::2] << np.uint8(4)


def nearest_magnitudes(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Magnitude codes 0 to 7 nearest to ``values`` >= 0, ties to the even code; beyond 6 it is 7."""
    codes = np.zeros(values.shape, np.intp)
    for bound in (0.25, 1.25, 2.5, 5.0):  # the even code lies below
        codes += values > bound
    for bound in (0.75, 1.75, 3.5):  # the even code lies above
        codes += values >= bound
    return codes


def decode_rows(
    packed: NDArray[np.uint8],
    scale: NDArray[np.uint8],
    values: NDArray[np.float32],
    scales: NDArray[np.float32],
    out: NDArray[Any],
) -> None:
    """K is the last axis: flat ``packed`` [8 B], ``scale`` [B] into flat ``out`` [16 B], float32 or BF16 bits."""
    if (native := backend.codecs()) is not None:
        native.decode_rows(packed, scale, *_native_tables(values, scales, out.dtype), out)
    elif out.dtype == np.float32:
        _decode_rows_to_f32(packed, scale, values, scales, out)
    else:
        _decode_rows_to_bf16(packed, scale, _pair_table(values, scales, out.dtype), out)


def decode_columns(
    packed_BPN: NDArray[np.uint8],
    scale_BN: NDArray[np.uint8],
    values: NDArray[np.float32],
    scales: NDArray[np.float32],
    out_BPHN: NDArray[Any],
) -> None:
    """K is the axis before the last: the halves of a byte become vertical neighbours. ``out`` float32 or BF16 bits."""
    if (native := backend.codecs()) is not None:
        native.decode_columns(packed_BPN, scale_BN, *_native_tables(values, scales, out_BPHN.dtype), out_BPHN)
        return
    if out_BPHN.dtype == np.float32 and packed_BPN.shape[-1] % 2 == 0 and packed_BPN.flags.c_contiguous:
        _decode_columns_to_f32(packed_BPN, scale_BN, values, scales, out_BPHN)
        return
    table = _pair_table(values, scales, out_BPHN.dtype)
    blocks, rows, columns = packed_BPN.shape
    step = min(blocks, max(1, _BLOCK // (rows * columns)))
    key_BPN = np.empty((step, rows, columns), np.uint16)
    index_BPN = np.empty((step, rows, columns), np.intp)
    pairs_BPN = np.empty((step, rows, columns), table.dtype)
    for begin in range(0, blocks, step):
        part, count = slice(begin, begin + step), min(step, blocks - begin)
        high_BN = scale_BN[part].astype(np.uint16) << np.uint16(8)
        np.bitwise_or(packed_BPN[part], high_BN[:, None], out=key_BPN[:count])
        index_BPN[:count] = key_BPN[:count]
        np.take(table, index_BPN[:count], out=pairs_BPN[:count], mode="clip")
        halves = pairs_BPN[:count].view(out_BPHN.dtype)
        out_BPHN[part, :, 0] = halves[..., 0::2]
        out_BPHN[part, :, 1] = halves[..., 1::2]


def _decode_columns_to_f32(
    packed_BPN: NDArray[np.uint8],
    scale_BN: NDArray[np.uint8],
    values: NDArray[np.float32],
    scales: NDArray[np.float32],
    out_BPHN: NDArray[np.float32],
) -> None:
    table = _half_table(values.tobytes())
    blocks, rows, columns = packed_BPN.shape
    words_BPW = packed_BPN.view("<u2")
    step = min(blocks, max(1, _BLOCK // (rows * columns)))
    index_BPW = np.empty((step, rows, columns // 2), np.intp)
    both_BPW = np.empty((step, rows, columns // 2), np.uint64)
    low_BPN = np.empty((step, rows, columns), np.uint32)
    scale_index_BN = np.empty((step, columns), np.intp)
    factor_BN = np.empty((step, columns), np.float32)
    for begin in range(0, blocks, step):
        part, count = slice(begin, begin + step), min(step, blocks - begin)
        index_BPW[:count] = words_BPW[part]
        scale_index_BN[:count] = scale_BN[part]
        np.take(scales, scale_index_BN[:count], out=factor_BN[:count], mode="clip")
        np.take(table, index_BPW[:count], out=both_BPW[:count], mode="clip")
        both_BPN, low, factor_B1N = both_BPW[:count].view(np.uint32), low_BPN[:count], factor_BN[:count, None]
        np.left_shift(both_BPN, 16, out=low)
        np.bitwise_and(both_BPN, np.uint32(0xFFFF0000), out=both_BPN)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            np.multiply(low.view(np.float32), factor_B1N, out=out_BPHN[part, :, 0])
            np.multiply(both_BPN.view(np.float32), factor_B1N, out=out_BPHN[part, :, 1])


def _native_tables(
    values: NDArray[np.float32], scales: NDArray[np.float32], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """``values`` and ``scales``; for BF16 the finished values instead, [256, 2, 16]: low bytes, high bytes."""
    if dtype == np.float32:
        return values, scales
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        finished = bf16.from_f32(scales[:, None] * values)
    return np.ascontiguousarray(finished.view(np.uint8).reshape(256, 16, 2).swapaxes(1, 2)), scales


@lru_cache(maxsize=2)  # one for NVFP4, one for MXFP4
def _half_table(values: bytes) -> NDArray[np.uint64]:
    """Unscaled values of two packed bytes at their uint16: a uint32 for each byte, both halves in it as BF16 bits.

    Every E2M1 value is exact in BF16, whose bits are the upper half of float32's.
    """
    upper = np.frombuffer(values, np.uint32) >> np.uint32(16)
    byte = np.arange(256)
    halves = upper[byte & 15] | upper[byte >> 4] << np.uint32(16)
    word = np.arange(1 << 16)
    table: NDArray[np.uint32] = np.stack([halves[word & 255], halves[word >> 8]], axis=-1)
    return table.reshape(-1).view(np.uint64)


def _pair_table(values: NDArray[np.float32], scales: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Finished (low, high) pairs at ``256 * scale byte + packed byte``, each pair as one unsigned integer."""
    byte = np.arange(256)
    pairs = np.stack([values[byte & 15], values[byte >> 4]], axis=-1)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        table: NDArray[np.float32] = scales[:, None, None] * pairs
    if dtype == np.float32:
        return table.reshape(-1).view(np.uint64)
    return bf16.from_f32(table).reshape(-1).view(np.uint32)


@lru_cache(maxsize=2)  # one for NVFP4, one for MXFP4
def _quad_table(values: bytes) -> NDArray[np.complex128]:
    """Unscaled values of two packed bytes at their uint16, four float32 in one 16-byte item."""
    word = np.arange(1 << 16)
    codes = np.stack([word >> shift & 15 for shift in (0, 4, 8, 12)], axis=-1)
    table: NDArray[np.float32] = np.frombuffer(values, np.float32)[codes]
    return table.reshape(-1).view(np.complex128)


def _decode_rows_to_f32(
    packed: NDArray[np.uint8],
    scale: NDArray[np.uint8],
    values: NDArray[np.float32],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    table = _quad_table(values.tobytes())
    rows = np.repeat(scales[:, None], 2 * _SCALE_BYTES, axis=1)
    words, quads = packed.view("<u2"), out.view(np.complex128)
    size = min(packed.size, _BLOCK)
    index = np.empty(size // 2, np.intp)
    scale_index = np.empty(size // _SCALE_BYTES, np.intp)
    factors = np.empty((size // _SCALE_BYTES, 2 * _SCALE_BYTES), np.float32)
    for begin in range(0, packed.size, _BLOCK):
        end = min(begin + _BLOCK, packed.size)
        count, blocks = (end - begin) // 2, (end - begin) // _SCALE_BYTES
        index[:count] = words[begin // 2 : end // 2]
        np.take(table, index[:count], out=quads[begin // 2 : end // 2], mode="clip")
        scale_index[:blocks] = scale[begin // _SCALE_BYTES : end // _SCALE_BYTES]
        np.take(rows, scale_index[:blocks], axis=0, out=factors[:blocks], mode="clip")
        part = out[2 * begin : 2 * end]
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            np.multiply(part, factors[:blocks].reshape(-1), out=part)


def _decode_rows_to_bf16(
    packed: NDArray[np.uint8], scale: NDArray[np.uint8], table: NDArray[np.uint32], out: NDArray[np.uint16]
) -> None:
    pairs = out.view(np.uint32)
    size = min(packed.size, _BLOCK)
    key = np.empty((size, 2), np.uint8)  # little-endian uint16: packed byte low, scale byte high
    index = np.empty(size, np.intp)
    scale_index = np.empty(size // _SCALE_BYTES, np.intp)
    repeated = np.empty(size // _SCALE_BYTES, np.uint64)
    for begin in range(0, packed.size, _BLOCK):
        end = min(begin + _BLOCK, packed.size)
        count, blocks = end - begin, (end - begin) // _SCALE_BYTES
        scale_index[:blocks] = scale[begin // _SCALE_BYTES : end // _SCALE_BYTES]
        np.take(_EIGHT_TIMES, scale_index[:blocks], out=repeated[:blocks], mode="clip")
        key[:count, 0] = packed[begin:end]
        key[:count, 1] = repeated[:blocks].view(np.uint8)
        index[:count] = key.view("<u2")[:count, 0]
        np.take(table, index[:count], out=pairs[begin:end], mode="clip")
