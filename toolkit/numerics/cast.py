"""MXFP4 to NVFP4 without a loss, as fused experts store both.

Both formats hold the same E2M1 nibbles, low one first, so no nibble changes; the bytes are transposed from [E, N, K/2]
to [E, K/2, N]. With k = scale byte - 127 and m = k_max - 8 (2^8 is the largest power of two that E4M3 holds):

    weight_scale_2 = 2^m        weight_scale = 2^(k - m), once for each 16 of the 32 values

which E4M3 holds exactly down to 2^-9, so k_max - k <= 17 is lossless. k_max is the largest of the whole tensor, for all
experts share one ``weight_scale_2``. m is at least -126, which costs nothing and keeps it a normal FP32 number. Source:
ModelOpt's ``--cast_mxfp4_to_nvfp4`` (Model-Optimizer #1372), which writes the same scales.

Blocks further below are out of range. With t = k_max - k - 17 >= 1 and 2^(m-9) as the unit their values are
E2M1 · 2^-t, at most 3, and they are encoded with scale 2^-9 and the nearest codes, ties to the even one. No other E4M3
scale has a smaller error. Others are 0 or at least twice it, so their least value above 0 is at least 1, and an x below
0.75 is as near or nearer to 0 or 0.5; 0.75 is 0.25 from 0.5 and no nearer to 1 or more; and all E2M1 · 2^-t from 1 on
(1, 1.5, 2, 3) are exact under 2^-9. Every code keeps its sign bit, so -0.0 (code 8) stays what it is.

Legend: L experts, N rows, B blocks of 32 values, P packed bytes of K, S NVFP4 scales of K.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import CheckpointError
from toolkit.numerics import backend, e2m1, mxfp4
from toolkit.numerics.fidelity import Report
from toolkit.numerics.native.library import Casting

_CHUNK = 1 << 13  # blocks at a time, to bound the temporaries
_BLOCK_BYTES = mxfp4.BLOCK // 2
_BIAS, _NAN = 127, 255
_HIGHEST, _LOWEST = 8, -9  # powers of two in E4M3
_LEAST_NORMAL = -126
_SMALLEST = 0x01  # 2^-9
_GONE = 5  # 6 · 2^-5 < 0.25: from here on every code becomes 0

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Cast:
    """``packed`` uint8 [..., K/2, N], ``scale`` uint8 (E4M3) [..., K/16, N], ``scale_2`` a power of two."""

    packed: Bytes
    scale: Bytes
    scale_2: float
    report: Report


def check_shapes(blocks: tuple[int, ...], scales: tuple[int, ...]) -> None:
    """Raises CheckpointError unless these are shapes that ``mxfp4_to_nvfp4`` takes."""
    if len(blocks) < 3 or blocks != (*scales, _BLOCK_BYTES):
        what = f"MXFP4 scales of shape {list(scales)} do not fit blocks of shape {list(blocks)}"
        raise CheckpointError(f"{what}: they would be [..., N, K/32] and [..., N, K/32, {_BLOCK_BYTES}]")


def tensor_exponent(scales: Bytes) -> int:
    """m of the whole tensor's ``scales`` (E8M0, any shape); CheckpointError with the position of one that is NaN."""
    largest = int(scales.max(initial=0))
    if largest == _NAN:
        position = [int(i) for i in np.unravel_index(int(scales.argmax()), scales.shape)]
        raise CheckpointError(f"MXFP4 scale {position} is 255, which is NaN", hint="Fetch the file again")
    return max(largest - _BIAS - _HIGHEST, _LEAST_NORMAL)


def mxfp4_to_nvfp4(blocks: Bytes, scales: Bytes, *, exponent: int | None = None) -> Cast:
    """Cast ``blocks`` uint8 [..., N, K/32, 16] and ``scales`` uint8 [..., N, K/32], a tensor or some of its experts.

    A part needs the whole tensor's ``tensor_exponent`` as ``exponent``. The scratch is a few MB, whatever the size.
    Raises CheckpointError for shapes that do not fit and for a scale that is NaN.
    """
    check_shapes(blocks.shape, scales.shape)
    least = tensor_exponent(scales)
    m = least if exponent is None else exponent
    if least > m:
        raise ValueError(f"exponent {m} is not that of the whole tensor: this part needs {least}")
    *lead, rows, count = scales.shape
    experts, row_bytes = prod(lead), count * _BLOCK_BYTES
    packed, scale = np.empty((*lead, row_bytes, rows), np.uint8), np.empty((*lead, 2 * count, rows), np.uint8)
    e4m3 = _block_scales(m)
    if (native := backend.codecs()) is not None:
        sums = native.cast(blocks, scales, _addresses(e4m3, m), packed, scale)
        return Cast(packed, scale, 2.0**m, Report(scales.size, sums.exact, sums.out_of_range, sums.error, sums.norm))
    blocks_LNP, scales_LNB = blocks.reshape(experts, rows, row_bytes), scales.reshape(experts, rows, count)
    packed_LPN, scale_LSN = packed.reshape(experts, row_bytes, rows), scale.reshape(experts, 2 * count, rows)
    report, step = Report(), max(1, _CHUNK // max(1, count))
    for index, begin in ((index, begin) for index in range(experts) for begin in range(0, rows, step)):
        part = slice(begin, begin + step)
        scales_NB = scales_LNB[index, part]
        new_BP, added = _recode(blocks_LNP[index, part].reshape(-1, _BLOCK_BYTES), scales_NB.reshape(-1), m)
        report += added
        packed_LPN[index, :, part] = new_BP.reshape(len(scales_NB), row_bytes).T
        scale_LSN[index, :, part] = np.repeat(e4m3[scales_NB], 2, axis=-1).T
    return Cast(packed, scale, 2.0**m, report)


def _addresses(e4m3: Bytes, m: int) -> Casting:
    """What the compiled kernels read; ``e4m3`` must outlive it."""
    arrays = {"e4m3": e4m3, "recoded": _RECODED, "error": _ERRORS, "squares": _SQUARES_OF_BYTES}
    return Casting(**{name: array.ctypes.data for name, array in arrays.items()}, exponent=m)


def _block_scales(m: int) -> Bytes:
    """The E4M3 byte of each E8M0 byte."""
    power = np.arange(256) - _BIAS - m
    subnormal = 1 << np.clip(power - _LOWEST, 0, 2)
    return np.where(power < -6, subnormal, np.clip(power + 7, 0, 15) << 3).astype(np.uint8)


def _recode(blocks_BP: Bytes, scales_B: Bytes, m: int) -> tuple[Bytes, Report]:
    """The packed bytes, which are ``blocks_BP`` itself where every block is in range."""
    square_B = np.ldexp(1.0, 2 * (scales_B.astype(np.int32) - _BIAS))  # of the block's power of two
    squares_BW = np.take(_SQUARES_OF_WORDS, blocks_BP.view("<u2").astype(np.intp), mode="clip")
    norm = float(np.einsum("bw,b->", squares_BW, square_B))
    below_B = m + _LOWEST + _BIAS - scales_B.astype(np.intp)
    far = np.flatnonzero(below_B > 0)
    if not far.size:
        return blocks_BP, Report(len(blocks_BP), len(blocks_BP), squared_norm=norm)
    shift, old = np.minimum(below_B[far], _GONE)[:, None], blocks_BP[far]
    recoded_BP = blocks_BP.copy()
    recoded_BP[far] = _RECODED[shift, old]
    error = _ERRORS[shift, old].sum(axis=1)
    exact = len(blocks_BP) - int(np.count_nonzero(error))
    return recoded_BP, Report(len(blocks_BP), exact, len(far), float(error @ square_B[far]), norm)


def _far_tables() -> tuple[Bytes, NDArray[np.float64]]:
    """[t, packed byte]: the byte under a scale 2^t larger, and the squared error in units of the old scale."""
    shift, byte = np.arange(_GONE + 1)[:, None], np.arange(256)
    recoded, error = np.zeros((_GONE + 1, 256), np.uint8), np.zeros((_GONE + 1, 256))
    for half in (0, 4):
        old = byte >> half & 15
        new = e2m1.nearest_magnitudes(np.ldexp(np.abs(_VALUES[old]), -shift)) | (old & 8)
        recoded |= (new << half).astype(np.uint8)
        error += np.square(_VALUES[old] - np.ldexp(_VALUES[new], shift))
    return recoded, error


_VALUES = e2m1.VALUES.astype(np.float64)
_SQUARES_OF_WORDS = sum(np.square(_VALUES)[np.arange(1 << 16) >> shift & 15] for shift in (0, 4, 8, 12))
_SQUARES_OF_BYTES = (4 * _SQUARES_OF_WORDS[: 1 << 8]).astype(np.uint16)
_RECODED, _ERRORS = _far_tables()
