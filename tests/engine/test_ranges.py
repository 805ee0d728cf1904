from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from toolkit.engine.ranges import CHUNK, Range, chunks, clone, fill, read
from toolkit.errors import BundleError

DATA = np.random.default_rng(5).integers(0, 256, 3 * CHUNK + 1, np.uint8).tobytes()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Range]:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    descriptor = os.open(path, os.O_RDONLY)
    yield Range(path, descriptor, 0, len(DATA))
    os.close(descriptor)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def test_a_part_of_a_part(source: Range) -> None:
    part = source.cut(7, len(DATA) - 5).cut(10, 30)
    assert (part.begin, part.end, part.size) == (17, 37, 20)
    assert read(part).tobytes() == DATA[17:37]
    assert read(source.cut(5, 5)).size == 0


@pytest.mark.parametrize(("begin", "end"), [(0, len(DATA)), (7, 9), (11, 2 * CHUNK + 11), (3, 3)])
def test_in_chunks(source: Range, begin: int, end: int) -> None:
    pieces = [data.tobytes() for data in chunks(source.cut(begin, end))]
    assert b"".join(pieces) == DATA[begin:end]
    assert [len(piece) for piece in pieces[:-1]] == [CHUNK] * (len(pieces) - 1)


def test_a_kernel_that_reads_less_than_was_asked_for(source: Range, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv

    def short(descriptor: int, views: list[memoryview], at: int) -> int:
        return preadv(descriptor, [views[0][: max(1, len(views[0]) // 3)]], at)

    monkeypatch.setattr(os, "preadv", short)
    assert read(source.cut(1, 100_000)).tobytes() == DATA[1:100_000]


def test_a_source_that_was_cut_short(source: Range) -> None:
    os.truncate(source.path, 1000)
    with pytest.raises(BundleError) as caught:
        fill(np.empty(2000, np.uint8), source.cut(500, 2500))
    wanted = f"{source.path}: the source changed while it was read: it ends at byte 1000. Build again"
    assert str(caught.value) == wanted


def test_a_clone_is_the_file_or_nothing(source: Range, target: int, tmp_path: Path) -> None:
    made = clone(source, target)
    assert (tmp_path / "target").read_bytes() == (DATA if made else b"")


@pytest.mark.parametrize("cannot", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, None])
def test_a_clone_as_the_kernel_answers(
    source: Range, target: int, monkeypatch: pytest.MonkeyPatch, cannot: int | None
) -> None:
    asked: list[tuple[int, int, int]] = []

    def answer(*args: int) -> int:
        asked.append(args)  # type: ignore[arg-type]
        if cannot is not None:
            raise OSError(cannot, os.strerror(cannot))
        return 0

    monkeypatch.setattr(fcntl, "ioctl", answer)
    assert clone(source, target) is (cannot is None)
    assert asked == [(target, 0x40049409, source.descriptor)]


def test_what_else_the_kernel_says_is_raised(source: Range, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fcntl, "ioctl", full)
    with pytest.raises(OSError, match="No space left"):
        clone(source, target)
