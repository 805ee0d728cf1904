from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from toolkit.engine import copying
from toolkit.engine.copying import clone, copy
from toolkit.engine.ranges import Range
from toolkit.errors import BundleError

DATA = np.random.default_rng(5).integers(0, 256, 40_000_001, np.uint8).tobytes()


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


def part(source: Range) -> Range:
    return Range(source.path, source.descriptor, 7, 39_000_000)


@pytest.mark.parametrize("cannot", [None, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_range_by_the_kernel_and_where_it_cannot(
    source: Range, target: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cannot: int | None
) -> None:
    ticks: list[int] = []

    def refuse(*args: object) -> int:
        assert cannot is not None
        raise OSError(cannot, os.strerror(cannot))

    if cannot is not None:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    copy(part(source), target, 11, ticks.append)
    assert (tmp_path / "target").read_bytes() == bytes(11) + DATA[7:39_000_000]
    assert sum(ticks) == 39_000_000 - 7
    assert max(ticks) <= copying.STEP


def test_what_else_the_kernel_says_is_raised(source: Range, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space left"):
        copy(source, target, 0, lambda count: None)
    monkeypatch.setattr(fcntl, "ioctl", full)
    with pytest.raises(OSError, match="No space left"):
        clone(source, target)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_source_that_was_cut_short(
    source: Range, target: int, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(errno.EXDEV, "")

    if by_hand:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    os.truncate(source.path, 1000)
    with pytest.raises(BundleError) as caught:
        copy(source, target, 0, lambda count: None)
    wanted = f"{source.path}: the source changed while it was read: it ends at byte 1000. Build again"
    assert str(caught.value) == wanted


def test_a_clone_is_the_file_or_nothing(source: Range, target: int, tmp_path: Path) -> None:
    made = clone(source, target)
    assert (tmp_path / "target").read_bytes() == (DATA if made else b"")


def test_a_clone_shares_what_the_kernel_says_it_shares(
    source: Range, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(fcntl, "ioctl", lambda *args: asked.append(args))
    assert clone(source, target)
    assert asked == [(target, 0x40049409, source.descriptor)]
