"""Which code runs the codecs: the C kernels where they are compiled, else NumPy. The results are the same bit for bit.

``TRTKIT_NATIVE`` may say ``off`` (NumPy) or name an instruction set (``scalar``, ``avx2``, ``avx512``, ``neon``); it is
read at each call. The codecs use one thread unless ``set_threads`` is told otherwise.
"""

from __future__ import annotations

import os
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from toolkit.errors import TrtkitError
from toolkit.numerics.native import build, library
from toolkit.numerics.native.codecs import Codecs
from toolkit.numerics.native.library import Isa

VARIABLE = "TRTKIT_NATIVE"
BUILD = "Type: python -m toolkit.numerics.native.build"
_ALIGNMENT = 64  # bytes of a cache line, and of the widest vector
_threads = 1


def codecs() -> Codecs | None:
    """The kernels to call; None for NumPy. TrtkitError if ``TRTKIT_NATIVE`` asks for what is not here."""
    return _chosen(os.environ.get(VARIABLE, ""), _threads)


def name() -> str:
    """For records: ``numpy``, or ``c`` and the instruction set."""
    chosen = codecs()
    return "numpy" if chosen is None else f"c {chosen.isa.name.lower()}"


def available() -> list[str]:
    """The instruction sets that ``TRTKIT_NATIVE`` may name here, best first; none without kernels."""
    loaded = _loaded()
    return [] if isinstance(loaded, str) else [isa.name.lower() for isa in library.supported(loaded)]


def problem() -> str | None:
    """Why there are no kernels, whatever ``TRTKIT_NATIVE`` says; None where there are."""
    loaded = _loaded()
    return loaded if isinstance(loaded, str) else None


def set_threads(threads: int) -> None:
    """How many threads one call of a codec may use, in this process."""
    global _threads
    if threads < 1:
        raise ValueError(f"{threads} threads")
    _threads = threads


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """As ``np.empty``, on a cache line's boundary: the kernels store past the cache only there."""
    wanted = np.dtype(dtype)
    memory = np.empty(prod(shape) * wanted.itemsize + _ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % _ALIGNMENT
    return memory[skip : memory.size - _ALIGNMENT + skip].view(wanted).reshape(shape)


@lru_cache(maxsize=8)
def _chosen(asked: str, threads: int) -> Codecs | None:
    names = [isa.name.lower() for isa in Isa]
    if asked not in ("", "off", *names):
        raise TrtkitError(f"{VARIABLE} is {asked!r}", hint=f"Set it to off, {', '.join(names)}, or unset it")
    loaded = _loaded()
    if asked == "off" or (isinstance(loaded, str) and not asked):
        return None
    if isinstance(loaded, str):
        raise TrtkitError(f"{VARIABLE} asks for {asked}, but the kernels are {loaded}", hint=BUILD)
    found = library.supported(loaded)
    isa = Isa[asked.upper()] if asked else found[0]
    if isa not in found:
        here = ", ".join(each.name.lower() for each in found)
        raise TrtkitError(f"{VARIABLE} asks for {asked}, which this CPU does not have", hint=f"It has {here}")
    return Codecs(loaded, isa, threads)


@lru_cache(maxsize=1)
def _loaded() -> Any:
    return library.load(build.LIBRARY)
