from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest

from toolkit.engine.sha256 import HashlibDigests, TwoDigests, two_digests
from toolkit.numerics import backend
from toolkit.numerics.native import sha256 as native

RNG = np.random.default_rng(8)


@pytest.fixture(params=["hashlib", "native"])
def digests(request: pytest.FixtureRequest) -> Iterator[type[TwoDigests]]:
    if request.param == "hashlib":
        yield HashlibDigests
        return
    codecs = backend.codecs()
    if codecs is None or not native.supported(codecs.library):
        pytest.skip("no compiled kernels, or a processor without SHA instructions")
    yield lambda: native.NativeDigests(codecs.library)


def check(digests: TwoDigests, pieces: list[tuple[int, int]]) -> None:
    wanted = [hashlib.sha256(), hashlib.sha256()]
    for sizes in pieces:
        data = [RNG.integers(0, 256, size, np.uint8) for size in sizes]
        digests.update(*data)
        for digest, part in zip(wanted, data, strict=True):
            digest.update(part.data)
    assert digests.hexdigests() == tuple(digest.hexdigest() for digest in wanted)


def test_every_length_around_one_and_two_blocks(digests: type[TwoDigests]) -> None:
    for size in range(132):
        check(digests(), [(size, 131 - size)])
        check(digests(), [(size, 0), (0, size)])


def test_streams_of_different_lengths_in_pieces(digests: type[TwoDigests]) -> None:
    for _ in range(200):
        sizes = RNG.integers(0, 400, (RNG.integers(0, 8), 2))
        check(digests(), [(int(one), int(other)) for one, other in sizes])
    check(digests(), [(1 << 18, 1 << 18), (7, 0), (100_001, 1 << 17), (0, 63), (1 << 16, 1 << 16)])


def test_a_length_of_more_than_32_bits_is_counted(digests: type[TwoDigests]) -> None:
    """2^29 bytes are 2^32 bits."""
    zeros = np.zeros(1 << 24, np.uint8)
    found, wanted = digests(), hashlib.sha256()
    for _ in range(32):
        found.update(zeros, zeros[:1])
        wanted.update(zeros.data)
    assert found.hexdigests() == (wanted.hexdigest(), hashlib.sha256(bytes(32)).hexdigest())


def test_without_kernels_it_is_hashlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "off")
    assert isinstance(two_digests(), HashlibDigests)
