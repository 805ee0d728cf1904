from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from toolkit.engine import output as output_module
from toolkit.engine.digests import Digests
from toolkit.engine.output import Output
from toolkit.engine.ranges import Range
from toolkit.errors import BundleError

BUFFER = 1 << 16
DATA = np.random.default_rng(5).integers(0, 256, 10 * BUFFER + 17, np.uint8)


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(output_module, "BUFFER", BUFFER)
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("trtkit-build")] == []


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Range]:
    path = tmp_path / "source"
    path.write_bytes(DATA.tobytes())
    descriptor = os.open(path, os.O_RDONLY)
    yield Range(path, descriptor, 0, DATA.size)
    os.close(descriptor)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def write(
    target: int,
    source: Range | None,
    *steps: Callable[[Output], None],
    tick: Callable[[int], None] = lambda count: None,
) -> tuple[str, str | None]:
    digests = Digests(source, tick)
    with Output(target, digests) as output:
        for step in steps:
            step(output)
        output.finish()
    return digests.hexdigests()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, BUFFER - 1, BUFFER, BUFFER + 1, 9 * BUFFER, DATA.size])
def test_any_size_computed_or_copied(source: Range, target: int, tmp_path: Path, size: int) -> None:
    wanted = DATA[:size].tobytes()
    assert write(target, source, lambda output: output.append(DATA[:size])) == (sha256(wanted), sha256(DATA.tobytes()))
    assert (tmp_path / "target").read_bytes() == wanted
    os.truncate(target, 0)
    assert write(target, None, lambda output: output.append(source.cut(0, size))) == (sha256(wanted), None)
    assert (tmp_path / "target").read_bytes() == wanted


def test_many_pieces(source: Range, target: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    wanted, steps = b"", []
    for begin, size in zip(rng.integers(0, DATA.size, 60), rng.integers(0, 3 * BUFFER, 60), strict=True):
        part = source.cut(int(begin), int(min(begin + size, DATA.size)))
        data = DATA[part.begin : part.end]
        steps += [
            lambda output, part=part: output.append(part),
            lambda output, data=data: output.append(data[::-1].copy()),
        ]
        wanted += data.tobytes() + data[::-1].tobytes()
    assert write(target, source, *steps) == (sha256(wanted), sha256(DATA.tobytes()))
    assert (tmp_path / "target").read_bytes() == wanted


@pytest.mark.parametrize("at", ["begin", "write"])
def test_a_file_system_that_cannot_pass_the_page_cache(
    source: Range, target: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Some say so when it is asked for (tmpfs, once), some at the first write."""
    pwrite, control, flags = os.pwrite, fcntl.fcntl, [0]

    def refusing(descriptor: int, command: int, argument: int = 0) -> int:
        if command != fcntl.F_SETFL:
            return control(descriptor, command) | flags[0]
        if at == "begin" and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flags[0] = argument & os.O_DIRECT
        return 0

    def picky(descriptor: int, data: memoryview, at: int) -> int:
        if flags[0]:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return pwrite(descriptor, data, at)

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    monkeypatch.setattr(os, "pwrite", picky)
    assert write(target, None, lambda output: output.append(source)) == (sha256(DATA.tobytes()), None)
    assert (tmp_path / "target").read_bytes() == DATA.tobytes()


def test_a_kernel_that_writes_less_than_was_asked_for(
    source: Range, target: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[: max(1, len(data) // 3)], at))
    assert write(target, None, lambda output: output.append(source)) == (sha256(DATA.tobytes()), None)
    assert (tmp_path / "target").read_bytes() == DATA.tobytes()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EINVAL])
@pytest.mark.parametrize("last", [0, 1, 5, 10])
def test_a_write_that_fails_is_raised_here(
    source: Range, target: int, monkeypatch: pytest.MonkeyPatch, last: int, error: int
) -> None:
    pwrite, calls = os.pwrite, [0]

    def full(file: int, data: memoryview, at: int) -> int:
        calls[0] += 1
        if calls[0] > last:
            raise OSError(error, os.strerror(error))
        return pwrite(file, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=os.strerror(error)):
        write(target, None, lambda output: output.append(source))


def test_a_source_that_was_cut_short(source: Range, target: int) -> None:
    os.truncate(source.path, 3 * BUFFER + 5)
    with pytest.raises(BundleError, match=rf"source: the source changed .* ends at byte {3 * BUFFER + 5}\."):
        write(target, None, lambda output: output.append(source))
    with pytest.raises(BundleError, match="the source changed while it was read"):
        write(target, source, lambda output: output.append(DATA, bound=DATA.size))


def test_what_a_tick_raises_ends_it(source: Range, target: int) -> None:
    class Stop(Exception):
        pass

    def stop(count: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        write(target, None, lambda output: output.append(source), tick=stop)
