"""One build at a time for an output folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import BundleError


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock file ``path``; the kernel lets go of it when the process ends, however it ends.

    Yields the descriptor: a process that inherits it holds the lock with us, until it ends as well.
    """
    descriptor = _acquire(path)
    try:
        yield descriptor
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BundleError("another build is at work there", where=str(path), hint="Wait for it to end") from None
        if _is_still_named(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_still_named(path: Path, descriptor: int) -> bool:
    """Whether the holder before removed the file between our open and our lock."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
