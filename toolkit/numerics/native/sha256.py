"""SHA-256 of two streams at once, on processors that have the SHA instructions of x86."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class Stream(ctypes.Structure):
    """``Sha256`` of ``sha256.h``."""

    _fields_ = (("state", ctypes.c_uint32 * 8), ("length", ctypes.c_uint64), ("tail", ctypes.c_uint8 * 64))


class NativeDigests:
    """Each ``update`` goes on with both streams, or with one where the other's part is empty."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library, self._streams = library, (Stream(), Stream())
        for stream in self._streams:
            library.trtkit_sha256_begin(ctypes.byref(stream))

    def update(self, first: Bytes, second: Bytes) -> None:
        """C-contiguous bytes."""
        arguments = [
            argument
            for stream, data in zip(self._streams, (first, second), strict=True)
            for argument in (ctypes.byref(stream), ctypes.c_void_p(data.ctypes.data), ctypes.c_int64(data.size))
        ]
        self._library.trtkit_sha256_update(*arguments)

    def hexdigests(self) -> tuple[str, str]:
        """Of all bytes so far; there can be no more."""
        first, second = (self._end(stream) for stream in self._streams)
        return first, second

    def _end(self, stream: Stream) -> str:
        digest = ctypes.create_string_buffer(32)
        self._library.trtkit_sha256_end(ctypes.byref(stream), digest)
        return digest.raw.hex()


def supported(library: ctypes.CDLL) -> bool:
    """Whether this processor has the instructions."""
    return bool(library.trtkit_sha256_supported())
