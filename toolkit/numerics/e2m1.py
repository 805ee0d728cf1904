"""E2M1, the 4-bit element of NVFP4 and MXFP4: codes, packing, and the table kernels that decode both.

A code is sign 1, exponent 2 (bias 1), mantissa 1. Two codes share a byte: element 2i of the packed (K) axis in the
low nibble, element 2i + 1 in the high one (OCP Microscaling Formats 1.0; ModelOpt ``nvfp4_tensor.py``).

Decoding looks up each (block scale byte, packed byte) pair in a table of 65,536 pairs of finished values, so nothing
is rounded or branched on at run time. Temporaries are bounded by ``_BLOCK_PAIRS``, whatever the tensor's size.

Legend: B blocks of the K axis (leading axes included), P packed bytes of one block, N columns.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.numerics import bf16

FloatType = Literal["float32", "bfloat16"]
VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""Value of each code, code 8 as -0.0."""

_BLOCK_PAIRS = 32_768  # 0.6 MB of scratch: measured best while it fits the L2 cache
_EIGHT_TIMES = np.arange(256, dtype=np.uint64) * np.uint64(0x0101010101010101)


def storage(dtype: FloatType) -> type[np.float32] | type[np.uint16]:
    """The NumPy type that holds ``dtype``: BF16 travels as uint16 bits."""
    return np.float32 if dtype == "float32" else np.uint16


def pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes [..., K/2] of codes [..., K]."""
    return codes[..., 0::2] | codes[..., 1::2] << np.uint8(4)


def pair_table(values: NDArray[np.float32], scales: NDArray[np.float32], dtype: FloatType) -> NDArray[Any]:
    """Decoded (low, high) pairs at ``256 * scale byte + packed byte``, each pair as one unsigned integer.

    ``values`` [16] by code, ``scales`` [256] by scale byte. value = fl32(values · scales), then cast to ``dtype``.
    """
    byte = np.arange(256)
    pairs = np.stack([values[byte & 15], values[byte >> 4]], axis=-1)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        table: NDArray[np.float32] = scales[:, None, None] * pairs
    if dtype == "float32":
        return table.reshape(-1).view(np.uint64)
    return bf16.from_f32(table).reshape(-1).view(np.uint32)


def decode_rows(packed: NDArray[np.uint8], scale: NDArray[np.uint8], table: NDArray[Any], out: NDArray[Any]) -> None:
    """K is the last axis: flat ``packed`` [8 B], ``scale`` [B] into flat, contiguous ``out`` [16 B]."""
    pairs = out.view(table.dtype)
    # Scratch is made once: buffers of this size would be mapped and faulted in anew at each step.
    size = min(packed.size, _BLOCK_PAIRS)
    bytes_by_position = np.empty((size, 2), np.uint8)  # little-endian uint16: packed byte low, scale byte high
    index = np.empty(size, np.intp)
    scale_index = np.empty(size // 8, np.intp)
    repeated = np.empty(size // 8, np.uint64)
    for begin in range(0, packed.size, _BLOCK_PAIRS):
        end = min(begin + _BLOCK_PAIRS, packed.size)
        count, blocks = end - begin, (end - begin) // 8
        scale_index[:blocks] = scale[begin // 8 : end // 8]
        np.take(_EIGHT_TIMES, scale_index[:blocks], out=repeated[:blocks], mode="clip")
        bytes_by_position[:count, 0] = packed[begin:end]
        bytes_by_position[:count, 1] = repeated[:blocks].view(np.uint8)
        index[:count] = bytes_by_position.view("<u2")[:count, 0]
        np.take(table, index[:count], out=pairs[begin:end], mode="clip")


def decode_columns(
    packed_BPN: NDArray[np.uint8], scale_BN: NDArray[np.uint8], table: NDArray[Any], out_BPHN: NDArray[Any]
) -> None:
    """K is the axis before the last: nibble pairs are vertical neighbours, so ``out`` has H = 2 rows a packed row."""
    blocks, rows, columns = packed_BPN.shape
    step = min(blocks, max(1, _BLOCK_PAIRS // (rows * columns)))
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
