from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from toolkit.engine.digests import Digests, Part, published_sha256, sha256_of, sha256_path
from toolkit.engine.ranges import Range
from toolkit.errors import BundleError

DATA = np.random.default_rng(6).integers(0, 256, 20_000_003, np.uint8).tobytes()


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[Range]:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield Range(path, descriptor, 0, len(data))
    finally:
        os.close(descriptor)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 1 << 20, 17_000_001])
def test_a_file(tmp_path: Path, size: int) -> None:
    ticks: list[int] = []
    with opened(tmp_path / "file", DATA[:size]) as file:
        assert sha256_of(file, ticks.append) == sha256(DATA[:size])
    assert sha256_path(tmp_path / "file", ticks.append) == sha256(DATA[:size])
    assert sum(ticks) == 2 * size


def parts_of(source: Range, *ranges: tuple[int, int] | bytes, bound: int = 0) -> Iterator[Part]:
    """Copied ranges and computed bytes, as small parts."""
    for item in ranges:
        data = np.frombuffer(DATA[slice(*item)] if isinstance(item, tuple) else item, np.uint8)
        for begin in range(0, data.size, 3 << 20):
            piece = data[begin : begin + (3 << 20)]
            origin = source.cut(item[0] + begin, item[0] + begin + piece.size) if isinstance(item, tuple) else None
            yield Part(piece, origin, bound)


MIB = 1 << 20
OWN = np.random.default_rng(7).integers(0, 256, 5 * MIB + 3, np.uint8).tobytes()


@pytest.mark.parametrize("bound", [0, 1, 9 * MIB, len(DATA)])
@pytest.mark.parametrize(
    "ranges",
    [
        (),
        (b"header",),
        ((0, len(DATA)),),
        (b"header", (1000, 9 * MIB), OWN, (10 * MIB, 18 * MIB)),
        (b"header", (10 * MIB, 18 * MIB), OWN, (1000, 9 * MIB), OWN),
        ((5, 7), (5, 7), (6, 9), OWN, (len(DATA) - 1, len(DATA))),
    ],
    ids=["nothing", "computed", "all", "in order", "out of order", "again"],
)
def test_a_file_and_its_source_in_one_pass(
    tmp_path: Path, ranges: tuple[tuple[int, int] | bytes, ...], bound: int
) -> None:
    made = b"".join(DATA[slice(*item)] if isinstance(item, tuple) else item for item in ranges)
    ticks: list[int] = []
    with opened(tmp_path / "source", DATA) as source:
        for of, wanted in ((source, sha256(DATA)), (None, None)):
            ticks.clear()
            digests = Digests(of, ticks.append)
            for part in parts_of(source, *ranges, bound=bound):
                digests.update(part)
            assert digests.hexdigests() == (sha256(made), wanted)
            assert sum(ticks) == len(made) + (len(DATA) if of else 0)


def test_bytes_that_come_in_the_source_s_order_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, preadv = [0], os.preadv

    def counting(descriptor: int, views: list[memoryview], at: int) -> int:
        read[0] += len(views[0])
        return preadv(descriptor, views, at)

    with opened(tmp_path / "source", DATA) as source:
        digests = Digests(source, lambda count: None)
        monkeypatch.setattr(os, "preadv", counting)
        for part in parts_of(source, b"header", (1000, 9 * MIB), OWN, (10 * MIB, 18 * MIB), bound=10 * MIB):
            digests.update(part)
        assert digests.hexdigests()[1] == sha256(DATA)
    assert read[0] == len(DATA) - (9 * MIB - 1000) - 8 * MIB


def test_bytes_of_another_file_are_not_the_source_s(tmp_path: Path) -> None:
    with opened(tmp_path / "source", DATA) as source, opened(tmp_path / "other", OWN) as other:
        digests = Digests(source, lambda count: None)
        digests.update(Part(np.frombuffer(OWN, np.uint8), other))
        assert digests.hexdigests() == (sha256(OWN), sha256(DATA))


def test_a_file_that_was_cut_short(tmp_path: Path) -> None:
    with opened(tmp_path / "file", DATA) as file:
        os.truncate(file.path, 100)
        with pytest.raises(BundleError, match="the source changed while it was read"):
            sha256_of(file, lambda count: None)


def test_the_name_of_a_blob_is_its_published_hash(tmp_path: Path) -> None:
    """Layout of huggingface_hub's cache: blobs/<etag>, snapshots/<commit>/<file> linked to it."""
    large, small = "ab" * 32, "cd" * 20  # LFS files are named by SHA-256, others by Git's SHA-1
    snapshot = tmp_path / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    for name, blob in (("model.safetensors", large), ("config.json", small)):
        (tmp_path / "blobs" / blob).write_bytes(b"data")
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    assert published_sha256(snapshot / "model.safetensors") == large
    assert published_sha256(snapshot / "config.json") is None


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (f"c0ffee\n{'ab' * 32}\n99999999999.0\n", "ab" * 32),
        (f"c0ffee\n{'ab' * 32}\n1.0\n", None),  # the file was changed after the download
        (f"c0ffee\n{'cd' * 20}\n99999999999.0\n", None),
        ("c0ffee\n", None),
        ("c0ffee\nx\nnever\n", None),
        (None, None),
    ],
)
def test_the_etag_beside_a_download(tmp_path: Path, metadata: str | None, found: str | None) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"data")
    if metadata is not None:
        beside = tmp_path / ".cache/huggingface/download/model.safetensors.metadata"
        beside.parent.mkdir(parents=True)
        beside.write_text(metadata)
    assert published_sha256(path) == found
