"""Two SHA-256 at once, of a file and of the file it was made from."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.numerics import backend
from toolkit.numerics.native import sha256 as native

Bytes = NDArray[np.uint8]
EMPTY = np.empty(0, np.uint8)


class TwoDigests(Protocol):
    """Two streams; each call goes on with both of them, or with one where the other's part is empty."""

    def update(self, first: Bytes, second: Bytes) -> None: ...

    def hexdigests(self) -> tuple[str, str]: ...


class HashlibDigests:
    """One after the other, as fast as OpenSSL is."""

    def __init__(self) -> None:
        self._first, self._second = hashlib.sha256(), hashlib.sha256()

    def update(self, first: Bytes, second: Bytes) -> None:
        self._first.update(first.data)
        self._second.update(second.data)

    def hexdigests(self) -> tuple[str, str]:
        return self._first.hexdigest(), self._second.hexdigest()


def two_digests() -> TwoDigests:
    """The compiled kernels' where this processor has SHA instructions for them (1.8 times as fast), else hashlib's."""
    codecs = backend.codecs()
    if codecs is not None and native.supported(codecs.library):
        return native.NativeDigests(codecs.library)
    return HashlibDigests()
