"""One build at a time for an output folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import BundleError


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold ``.<name>.lock`` beside ``output``; the kernel lets go of it when the process ends, however it ends."""
    path = output.with_name(f".{output.name}.lock")
    descriptor = _acquire(path, output)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, output: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BundleError("another build is at work there", where=str(output), hint="Wait for it to end") from None
        # the holder before may have removed the file between our open and our lock
        if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)
