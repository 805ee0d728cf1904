"""The kernels' calls on NumPy arrays, shared out over threads.

Arrays are as ``e2m1``, ``nvfp4``, ``transcode`` and ``cast`` describe them; inputs that are not C-contiguous are copied
first, outputs must be. ctypes releases the GIL, so plain threads work at the same time, each on its own units.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.numerics import fp8
from toolkit.numerics.native.library import Casting, Isa, Sums, Transcoding

Bytes = NDArray[np.uint8]
_STRIP = 64  # rows of an expert in one unit of a transposing kernel, as in kernels.c
_LEAST = 1 << 16  # packed bytes for which another thread is worth its start
_LARGEST_SCALE = 0x7E


@dataclass(frozen=True, slots=True)
class Codecs:
    """A loaded library with the instruction set and the number of threads to use."""

    library: ctypes.CDLL
    isa: Isa
    threads: int = 1

    def decode_rows(
        self, packed: Bytes, scale: Bytes, values: NDArray[np.float32], scales: NDArray[np.float32], out: NDArray[Any]
    ) -> None:
        """As ``e2m1.decode_rows``; for BF16 ``values`` [256, 2, 16] are the planes of ``e2m1.planes``."""
        packed, scale = _contiguous(packed, scale)
        if out.dtype == np.float32:
            given = (_at(values), _at(scales))
            self._share(scale.size, 8, "decode_rows_f32", (_at(packed), _at(scale), *given), (_at(out),))
        else:
            self._share(scale.size, 8, "decode_rows_bf16", (_at(packed), _at(scale), _at(values)), (_at(out),))

    def decode_columns(
        self, packed: Bytes, scale: Bytes, values: NDArray[Any], scales: NDArray[np.float32], out: NDArray[Any]
    ) -> None:
        """As ``e2m1.decode_columns``, ``values`` as for ``decode_rows``."""
        packed, scale = _contiguous(packed, scale)
        blocks, columns = scale.shape
        given = (_at(packed), _at(scale), _at(values))
        if out.dtype == np.float32:
            self._share(blocks, 8 * columns, "decode_columns_f32", (*given, _at(scales), columns), (_at(out),))
        else:
            self._share(blocks, 8 * columns, "decode_columns_bf16", (*given, columns), (_at(out),))

    def encode(self, values: NDArray[np.uint16], axis: int, global_scale: float, packed: Bytes, scale: Bytes) -> None:
        """BF16 bits to NVFP4 along ``axis`` (-1 or -2) under a finite ``global_scale`` that is not negative."""
        [values] = _contiguous(values)
        tables = _encoding(self.library._name, global_scale, self.library)
        outputs = (_at(packed), _at(scale))
        if axis == -1:
            self._share(scale.size, 8, "encode_rows", (_at(values), _at(tables)), outputs)
        else:
            columns = values.shape[-1]
            blocks = scale.size // max(1, columns)
            self._share(blocks, 8 * columns, "encode_columns", (_at(values), _at(tables), columns), outputs)

    def transpose(self, matrix: Bytes, out: Bytes) -> None:
        """``matrix`` [R, C] of bytes into ``out`` [C, R]; the last axis of both is contiguous."""
        rows, columns = matrix.shape
        strides = matrix.strides[0], out.strides[0]
        self.library.trtkit_transpose(self.isa, _at(matrix), rows, columns, strides[0], _at(out), strides[1])

    def transcode_rows(self, packed: Bytes, scale: Bytes, tables: Transcoding, blocks: Bytes, scales: Bytes) -> Sums:
        """packed [B, 16] and scale [B, 2] into blocks [B, 16] and scales [B]. The sums are over all of them."""
        packed, scale = _contiguous(packed, scale)
        _check_scales(scale)
        given, outputs = (_at(packed), _at(scale), ctypes.byref(tables)), (_at(blocks), _at(scales))
        return self._sum(scales.size, 16, "transcode_rows", given, outputs)

    def transcode_columns(self, packed: Bytes, scale: Bytes, tables: Transcoding, blocks: Bytes, scales: Bytes) -> Sums:
        """packed [..., K/2, N] and scale [..., K/16, N] into blocks [..., N, K/32, 16] and scales [..., N, K/32]."""
        packed, scale = _contiguous(packed, scale)
        _check_scales(scale)
        *lead, rows, count = scales.shape
        given = (_at(packed), _at(scale), ctypes.byref(tables), count, rows)
        units = prod(lead) * -(-rows // _STRIP)
        return self._sum(units, _STRIP * 16 * count, "transcode_columns", given, (_at(blocks), _at(scales)))

    def cast(self, blocks: Bytes, scales: Bytes, tables: Casting, packed: Bytes, scale: Bytes) -> Sums:
        """blocks [..., N, K/32, 16] and scales [..., N, K/32] into packed [..., K/2, N] and scale [..., K/16, N]."""
        blocks, scales = _contiguous(blocks, scales)
        *lead, rows, count = scales.shape
        given = (_at(blocks), _at(scales), ctypes.byref(tables), count, rows)
        units = prod(lead) * -(-rows // _STRIP)
        return self._sum(units, _STRIP * 16 * count, "cast", given, (_at(packed), _at(scale)))

    def _share(self, units: int, unit_bytes: int, name: str, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        function = getattr(self.library, f"trtkit_{name}")
        self._run(units, unit_bytes, lambda begin, end: function(self.isa, *before, begin, end, *after))

    def _sum(self, units: int, unit_bytes: int, name: str, before: tuple[Any, ...], after: tuple[Any, ...]) -> Sums:
        function = getattr(self.library, f"trtkit_{name}")

        def work(begin: int, end: int) -> Sums:
            sums = Sums()
            function(self.isa, *before, begin, end, *after, ctypes.byref(sums))
            return sums

        parts = self._run(units, unit_bytes, work)
        return Sums(*(sum(getattr(part, name) for part in parts) for name, _ in Sums._fields_))

    def _run(self, units: int, unit_bytes: int, work: Callable[[int, int], Any]) -> list[Any]:
        """``work`` on the units from begin to end, once for each thread."""
        parts = max(1, min(self.threads, units, units * unit_bytes // _LEAST))
        bounds = [units * part // parts for part in range(parts + 1)]
        if parts == 1:
            return [work(0, units)]
        with ThreadPoolExecutor(parts) as pool:
            return list(pool.map(work, bounds[:-1], bounds[1:]))


@lru_cache(maxsize=2)
def _encoding(_path: str, global_scale: float, library: ctypes.CDLL) -> Bytes:
    """The tables that replace the division under this global scale, 36 KiB."""
    tables = np.empty(library.trtkit_encoding_size(), np.uint8)
    library.trtkit_encoding(global_scale, _at(fp8.E4M3), _at(tables))
    return tables


def _contiguous(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
    return [np.ascontiguousarray(array) for array in arrays]


def _check_scales(scale: Bytes) -> None:
    if scale.max(initial=0) > _LARGEST_SCALE:
        raise ValueError("block scales that are NaN or negative have no MXFP4")


def _at(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)
