"""NVFP4 to MXFP4: for each 32 values the power of two and the codes with the least squared error.

The values are what NVFP4 decodes to, x = fl32(E2M1[code] · fl32(scale · scale_2)); their codes under 2^e are x / 2^e
rounded to the nearest E2M1 value, ties to the even code. Which e is best? Let G be the magnitudes of E2M1, A the
largest |x| of the block, and E the least exponent with A <= 6 · 2^E; hence 3 · 2^E < A. Then only E and E - 1 can win:

* Above E nothing improves: every value of 2G up to 6 is in G, so no x <= 6 · 2^e is nearer to 2^(e+1) G than to 2^e G.
* All that G/2 has and G lacks is 0.25 and 0.75, so the step from e down to e - 1 gains at most 2^(2e) / 16 for each of
  the 31 other values, while A, clipped to 6 · 2^e and then to 3 · 2^e, loses 3 · 2^e (2A - 9 · 2^e). With e = E - k and
  A > 3 · 2^E that is more than (18 · 2^k - 27) · 2^(2e), and 18 · 2^k - 27 >= 9 > 31/16 for k >= 1. So every step below
  E - 1 is a loss.

E - 1 is taken when its error is strictly smaller. That comparison is exact: where x becomes a under E and another value
b under E - 1, it is at least 2^(E-3), so the difference of the squared errors, (a - b)(2x - a - b), is a multiple of
2^(2E-27), and 32 of them stay below 2^(2E+9): 36 bits, which float64 adds without rounding in any order. The choice
therefore does not depend on how a kernel orders its sums; the reported error may, in its last digits.

A block is exact only under E, where nothing is clipped. Exponents stay within -127 to 127 (scale bytes 0 to 254); 126
is the largest that FP32 values need. A block of zeros gets scale byte 0. Every code keeps its sign bit.

Legend: L slices and N rows of a tensor, B blocks of 32 values, H the two NVFP4 blocks in each, P packed bytes, W words
of two of them, S scale bytes, M magnitudes of E2M1, R rows of a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import CheckpointError
from toolkit.numerics import backend, e2m1, fp8, mxfp4, nvfp4
from toolkit.numerics.fidelity import Report
from toolkit.numerics.native.library import Sums, Transcoding

_CHUNK = 1 << 13  # blocks at a time, to bound the temporaries
_BLOCK_BYTES = mxfp4.BLOCK // 2
_HALF_BYTES = nvfp4.BLOCK // 2
_SCALES = 0x7F  # E4M3 bytes from 0 up to 448; what follows is NaN or negative
_MAGNITUDES = e2m1.VALUES[:8].astype(np.float64)
_NOTHING = -1000  # the exponent that zero needs
_LEAST, _BIAS = -127, 127
_ONE, _EIGHT_POWERS = np.float64(1).view(np.int64), 55  # float64 bits of 1.0; they grow by 1 << 55 with each factor 256
_LOWEST, _STEPS = -5, 12
"""Exponents that a table row exists for, counted from the one that holds 6 · scale. 5 below is E - 1 of a block with
nothing above code 1; from 5 above on every code is 0, and 6 above that is so one exponent lower, too."""
_HINT = "Quantise the model again, or fetch the file again"

F64 = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Transcoded:
    """``blocks`` uint8 [..., N, K/32, 16] and ``scales`` uint8 [..., N, K/32], as gpt-oss checkpoints store MXFP4."""

    blocks: Bytes
    scales: Bytes
    report: Report


class Tables(NamedTuple):
    """All that depends on ``scale_2``. A row stands for one scale byte and one exponent: byte · _STEPS + step."""

    fit: NDArray[np.int64]  # [byte · 8 + magnitude code]: least exponent that does not clip that value
    full: NDArray[np.int64]  # [byte]: the exponent of step 0
    gain: F64  # [row, M]: squared error one exponent lower minus squared error, in units of 4^exponent
    error: F64  # [row, M]: squared error
    power: F64  # [byte, M]: squared value
    place: NDArray[np.intp]  # [row, 8]: where the row's new bytes begin in ``recoded``, once for each byte of a half
    recoded: Bytes  # [map · 256 + packed byte]: the new packed byte; many rows share a map
    nibbles: Bytes  # [row, 16]: the new code of each code, for the compiled kernels
    lossy: Bytes  # [row, M]: 0xFF where that magnitude has an error


def nvfp4_to_mxfp4(packed: Bytes, scale: Bytes, scale_2: float, *, axis: nvfp4.Axis = -1, first: int = 0) -> Transcoded:
    """Transcode a tensor, or a part of its first axis: ``packed`` and ``scale`` as in ``toolkit.numerics.nvfp4``.

    K is ``axis`` (-1 for Linears, -2 for fused experts) and must be a multiple of 32. The scratch is a few MB, whatever
    the size. ``first`` is where the part begins on the tensor's first axis, for messages. Raises CheckpointError for
    shapes that do not fit, for a block scale that is NaN or negative (with its position), and for a ``scale_2`` that is
    not above 0 or makes FP32 overflow.
    """
    check_shapes(packed.shape, scale.shape, axis)
    tables = tables_for(float(scale_2))
    packed_LNP, scale_LNS = _rows(packed, axis), _rows(scale, axis)
    count, rows, row_bytes = packed_LNP.shape
    per_row = row_bytes // _BLOCK_BYTES
    scales = np.empty((*packed.swapaxes(axis, -1).shape[:-1], per_row), np.uint8)
    blocks = np.empty((*scales.shape, _BLOCK_BYTES), np.uint8)
    if (native := backend.codecs()) is not None:
        if scale.max(initial=0) >= _SCALES:
            _refuse_block_scale(scale, first)
        run = native.transcode_rows if axis == -1 else native.transcode_columns
        return Transcoded(blocks, scales, _report(scales, run(packed, scale, _addresses(tables), blocks, scales)))
    blocks_LNP, scales_LNB = blocks.reshape(packed_LNP.shape), scales.reshape(count, rows, per_row)
    report, step = Report(), max(1, _CHUNK // max(1, per_row))
    for part in ((index, slice(begin, begin + step)) for index in range(count) for begin in range(0, rows, step)):
        scale_BH = scale_LNS[part].reshape(-1, 2)
        if scale_BH.max(initial=0) >= _SCALES:
            _refuse_block_scale(scale, first)
        packed_BP = np.ascontiguousarray(packed_LNP[part]).reshape(-1, _BLOCK_BYTES)
        out_BP, out_B = blocks_LNP[part].reshape(-1, _BLOCK_BYTES), scales_LNB[part].reshape(-1)
        report += transcode_blocks(packed_BP, scale_BH, tables, out_BP, out_B)
    return Transcoded(blocks, scales, report)


def transcode_blocks(packed_BP: Bytes, scale_BH: Bytes, tables: Tables, blocks_BP: Bytes, scales_B: Bytes) -> Report:
    """The kernel: C-contiguous blocks with K last, and scale bytes below 0x7F, into ``blocks_BP`` and ``scales_B``."""
    if (native := backend.codecs()) is not None:
        sums = native.transcode_rows(packed_BP, scale_BH, _addresses(tables), blocks_BP, scales_B)
        return _report(scales_B, sums)
    counts_HB = _count_magnitudes(packed_BP)
    times_HBM = counts_HB.view(np.uint8).reshape(2, -1, 8).astype(np.float64)
    scale_HB = scale_BH.T.astype(np.intp)
    largest_HB = counts_HB.astype(np.float64).view(np.int64) - _ONE >> _EIGHT_POWERS
    exponent_B = np.maximum(np.take(tables.fit, scale_HB * 8 + largest_HB, mode="clip").max(axis=0), _LEAST)
    step_HB = exponent_B - np.take(tables.full, scale_HB, mode="clip") - _LOWEST
    row_HB = scale_HB * _STEPS + np.clip(step_HB, 0, _STEPS - 1)
    gain_B = np.einsum("hbm,hbm->b", np.take(tables.gain, row_HB, axis=0, mode="clip"), times_HBM)
    lower_B = (gain_B < 0) & (exponent_B > _LEAST)
    exponent_B -= lower_B
    row_HB -= lower_B  # a half of zeros may slip to another scale's row: zero is zero in all of them
    error_B = np.einsum("hbm,hbm->b", np.take(tables.error, row_HB, axis=0, mode="clip"), times_HBM)
    norm = np.einsum("hbm,hbm->", np.take(tables.power, scale_HB, axis=0, mode="clip"), times_HBM)
    index_BHP = np.take(tables.place, row_HB.T, axis=0, mode="clip")
    index_BHP += packed_BP.reshape(index_BHP.shape)
    np.take(tables.recoded, index_BHP, out=blocks_BP.reshape(index_BHP.shape), mode="clip")
    scales_B[:] = exponent_B + _BIAS
    return Report(len(packed_BP), int((error_B == 0).sum()), 0, float(error_B.sum()), float(norm))


def _addresses(tables: Tables) -> Transcoding:
    """What the compiled kernels read; ``tables`` must outlive it."""
    arrays: dict[str, NDArray[Any]] = {
        "fit": tables.fit,
        "full": tables.full,
        "gain": tables.gain,
        "error": tables.error,
        "power": tables.power,
        "lossy": tables.lossy,
        "recoded": tables.nibbles,
        "counts": _COUNTS_OF_BYTES,
    }
    return Transcoding(**{name: array.ctypes.data for name, array in arrays.items()})


def _report(scales: Bytes, sums: Sums) -> Report:
    return Report(scales.size, sums.exact, sums.out_of_range, sums.error, sums.norm)


def _count_magnitudes(packed_BP: Bytes) -> NDArray[np.uint64]:
    """How often each magnitude code occurs in each half [H, B]: eight counts in one integer, a byte each."""
    words_BW = np.take(_COUNTS, packed_BP.view("<u2").astype(np.intp), mode="clip")
    counts_HB = np.empty((2, len(packed_BP)), np.uint64)
    for half, counts_B in enumerate(counts_HB):
        np.add(words_BW[:, 4 * half], words_BW[:, 4 * half + 1], out=counts_B)
        counts_B += words_BW[:, 4 * half + 2]
        counts_B += words_BW[:, 4 * half + 3]
    return counts_HB


@lru_cache(maxsize=4)
def tables_for(scale_2: float) -> Tables:
    """Raises CheckpointError for a global scale that is not above 0 or makes FP32 overflow."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real = fp8.E4M3[:_SCALES] * np.float32(scale_2)
        values_SM = (real[:, None] * e2m1.VALUES[:8]).astype(np.float64)
    if not (np.float32(scale_2) > 0 and np.isfinite(values_SM).all()):
        what = f"weight_scale_2 is {scale_2:g}, but must be above 0 and keep 6 · 448 times itself finite in FP32"
        raise CheckpointError(what, hint=_HINT)
    fit_SM = _least_exponents(values_SM)
    exponent = fit_SM[:, 7:] + np.arange(_STEPS) + _LOWEST
    unit = exponent[..., None]
    x: F64 = np.ldexp(values_SM[:, None], -unit)  # [byte, step, M]
    codes = e2m1.nearest_magnitudes(x)
    here, lower = _MAGNITUDES[codes], _MAGNITUDES[e2m1.nearest_magnitudes(2 * x)] / 2
    gain = (here - lower) * (2 * x - here - lower)
    error = np.square(values_SM[:, None] - np.ldexp(here, unit))
    place, recoded = _maps(codes.reshape(-1, 8))
    nibbles = recoded[place[:, :1] + np.arange(16)] & np.uint8(15)
    flat = (gain.reshape(-1, 8), error.reshape(-1, 8))
    lossy = np.where(flat[1] > 0, np.uint8(255), np.uint8(0))
    full = np.ascontiguousarray(fit_SM[:, 7])
    return Tables(fit_SM.reshape(-1), full, *flat, np.square(values_SM), place, recoded, nibbles, lossy)


def _least_exponents(values: F64) -> NDArray[np.int64]:
    """Least e with value <= 6 · 2^e = 0.75 · 2^(e + 3)."""
    fraction, power = np.frexp(values)
    return np.where(values > 0, power - np.where(fraction <= 0.75, 3, 2), _NOTHING).astype(np.int64)


def _maps(codes_RM: NDArray[np.intp]) -> tuple[NDArray[np.intp], Bytes]:
    """``place`` and ``recoded`` of ``Tables``; the few different rows of codes become a table of 256 bytes each."""
    maps, number_R = np.unique(codes_RM, axis=0, return_inverse=True)
    nibble = np.concatenate([maps, maps | 8], axis=1).astype(np.uint8)
    byte = np.arange(256)
    recoded = nibble[:, byte & 15] | nibble[:, byte >> 4] << np.uint8(4)
    return np.repeat(number_R.reshape(-1, 1).astype(np.intp) * 256, _HALF_BYTES, axis=1), recoded.reshape(-1)


def _counts_of_words() -> NDArray[np.uint64]:
    word = np.arange(1 << 16)
    magnitude = np.stack([word >> shift & 7 for shift in (0, 4, 8, 12)]).astype(np.uint64)
    counts: NDArray[np.uint64] = (np.uint64(1) << np.uint64(8) * magnitude).sum(axis=0)
    return counts


_COUNTS = _counts_of_words()
_COUNTS_OF_BYTES = _COUNTS[: 1 << 8] - np.uint64(2)  # without the two zeros of a word's high byte


def _rows(array: Bytes, axis: nvfp4.Axis) -> Bytes:
    """[L, N, .] with K last, a view where ``array`` is contiguous."""
    *lead, before, last = array.shape
    if axis == -1:
        return array.reshape(1, prod(lead) * before, last)
    return array.reshape(prod(lead), before, last).swapaxes(-1, -2)


def check_shapes(packed: tuple[int, ...], scale: tuple[int, ...], axis: nvfp4.Axis) -> None:
    """Raises CheckpointError unless these are shapes that ``nvfp4_to_mxfp4`` takes."""
    if len(packed) < 2:
        raise CheckpointError(f"NVFP4 weights packed as {list(packed)} are no matrix")
    if packed[axis] % _BLOCK_BYTES:
        what = f"K of NVFP4 weights packed as {list(packed)} is {2 * packed[axis]}"
        raise CheckpointError(f"{what}, not a multiple of {mxfp4.BLOCK}")
    expected = list(packed)
    expected[axis] //= _HALF_BYTES
    if list(scale) != expected:
        what = f"NVFP4 block scales of shape {list(scale)} do not fit packed weights of shape {list(packed)}"
        raise CheckpointError(f"{what}: they would be {expected}")


def _refuse_block_scale(scale: Bytes, first: int) -> None:
    position = [int(i) for i in np.unravel_index(int(np.argmax(scale >= _SCALES)), scale.shape)]
    byte = int(scale[tuple(position)])
    kind = "NaN" if byte & 0x7F == 0x7F else "negative"
    position[0] += first
    raise CheckpointError(f"block scale {position} is {byte:#04x}, which is {kind}", hint=_HINT)
