from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from toolkit.engine.digests import Copied, proved_sha256, published_sha256, sha256_of, sha256_path
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


def test_two_files_in_the_pass_that_compares_them(tmp_path: Path) -> None:
    """A header and a computed part are the target's own; the source has bytes of its own before, between and after."""
    made = b"header" + DATA[1000:9_000_000] + b"computed" + DATA[10_000_000:19_000_000]
    ticks: list[int] = []
    with opened(tmp_path / "source", DATA) as source, opened(tmp_path / "made", made) as file:
        copied = [
            Copied(6, Range(source.path, source.descriptor, 1000, 9_000_000)),
            Copied(14 + 9_000_000 - 1000, Range(source.path, source.descriptor, 10_000_000, 19_000_000)),
        ]
        assert proved_sha256(file, copied, source, ticks.append) == (sha256(made), sha256(DATA))
        assert sum(ticks) == len(made) + len(DATA)
        assert proved_sha256(file, copied, None, lambda count: None) == (sha256(made), None)
        backwards = [Copied(part.at, part.source) for part in copied]
        swapped = made[:6] + DATA[10_000_000:19_000_000] + DATA[1000:9_000_000]
    with opened(tmp_path / "source", DATA) as source, opened(tmp_path / "made", swapped) as file:
        later, earlier = (
            Range(source.path, source.descriptor, part.source.begin, part.source.end) for part in backwards[::-1]
        )
        parts = [Copied(6, later), Copied(6 + later.size, earlier)]
        assert proved_sha256(file, parts, source, lambda count: None) == (sha256(swapped), sha256(DATA))


@pytest.mark.parametrize("byte", [6, 3_000_000, 9_000_005])
def test_the_first_byte_that_differs_is_named(tmp_path: Path, byte: int) -> None:
    made = bytearray(b"header" + DATA[:9_000_000])
    made[byte] ^= 1
    with ExitStack() as stack:
        source = stack.enter_context(opened(tmp_path / "source", DATA))
        file = stack.enter_context(opened(tmp_path / "made", bytes(made)))
        copied = [Copied(6, Range(source.path, source.descriptor, 0, 9_000_000))]
        with pytest.raises(BundleError, match=rf"made: byte {byte} differs from its source. Build again"):
            proved_sha256(file, copied, source, lambda count: None)


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
