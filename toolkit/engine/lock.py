"""One build at a time for an output folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import BundleError


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold ``.<name>.lock`` beside ``output``; the kernel lets go of it when the process ends, however it ends."""
    with output.with_name(f".{output.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError("another build is at work there", where=str(output), hint="Wait for it to end") from None
        yield
