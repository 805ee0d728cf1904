"""The compiled kernels as ctypes sees them: is there a library for this source and this CPU?"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_int64, c_void_p
from enum import IntEnum
from pathlib import Path

from toolkit.numerics.native.build import source_digest


class Isa(IntEnum):
    """Instruction sets as ``kernels.c`` numbers them."""

    SCALAR = 0
    AVX2 = 1
    AVX512 = 2
    NEON = 3


BEST_FIRST = (Isa.AVX512, Isa.AVX2, Isa.NEON, Isa.SCALAR)


class Transcoding(ctypes.Structure):
    """``Transcoding`` of ``kernels.c``: addresses of the tables."""

    _fields_ = tuple(
        (name, c_void_p) for name in ("fit", "full", "gain", "error", "power", "lossy", "recoded", "counts")
    )


class Casting(ctypes.Structure):
    """``Casting`` of ``kernels.c``."""

    _fields_ = (*((name, c_void_p) for name in ("e4m3", "recoded", "error", "squares")), ("exponent", c_int64))


class Sums(ctypes.Structure):
    """``Report`` of ``kernels.c``."""

    _fields_ = (
        ("exact", c_int64),
        ("out_of_range", c_int64),
        ("error", ctypes.c_double),
        ("norm", ctypes.c_double),
    )


_P, _N = c_void_p, c_int64
_TABLES, _SUMS = POINTER(Transcoding), POINTER(Sums)
SIGNATURES = {
    "decode_rows_bf16": (c_int, _P, _P, _P, _N, _N, _P),
    "decode_rows_f32": (c_int, _P, _P, _P, _P, _N, _N, _P),
    "decode_columns_bf16": (c_int, _P, _P, _P, _N, _N, _N, _P),
    "decode_columns_f32": (c_int, _P, _P, _P, _P, _N, _N, _N, _P),
    "encoding": (c_float, _P, _P),
    "encode_rows": (c_int, _P, _P, _N, _N, _P, _P),
    "encode_columns": (c_int, _P, _P, _N, _N, _N, _P, _P),
    "transpose": (c_int, _P, _N, _N, _N, _P, _N),
    "transcode_rows": (c_int, _P, _P, _TABLES, _N, _N, _P, _P, _SUMS),
    "transcode_columns": (c_int, _P, _P, _TABLES, _N, _N, _N, _N, _P, _P, _SUMS),
    "cast": (c_int, _P, _P, POINTER(Casting), _N, _N, _N, _N, _P, _P, _SUMS),
}


def load(path: Path) -> ctypes.CDLL | str:
    """The library with its signatures declared, or why it cannot be used."""
    if not path.is_file():
        return "not compiled"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return f"{path.name} does not load: {error}"
    library.trtkit_source.restype = c_char_p
    if library.trtkit_source() != source_digest().encode():
        return f"{path.name} was compiled from other sources"
    library.trtkit_supports.argtypes = (c_int,)
    library.trtkit_encoding_size.restype = c_int64
    for name, arguments in SIGNATURES.items():
        function = getattr(library, f"trtkit_{name}")
        function.argtypes, function.restype = arguments, None
    return library


def supported(library: ctypes.CDLL) -> list[Isa]:
    """The instruction sets that this CPU has, best first."""
    return [isa for isa in BEST_FIRST if library.trtkit_supports(isa)]
