"""Ranges of open files: read, or a whole file's blocks shared with another file."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import BundleError

Bytes = NDArray[np.uint8]
CHUNK = 1 << 20  # small enough to be read again from the processor's cache
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_CANNOT_CLONE = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTTY, errno.EBADF}


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``begin`` up to ``end`` of an open file."""

    path: Path
    descriptor: int
    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin

    def cut(self, begin: int, end: int) -> Range:
        """Its bytes ``begin`` up to ``end``, counted from its first."""
        return Range(self.path, self.descriptor, self.begin + begin, self.begin + end)


def fill(data: Bytes, file: Range) -> None:
    """Read a range into ``data``, which is as long; ``BundleError`` where the file is shorter than it was.

    Nothing is mapped: a file that is cut short under a mapping ends the process (SIGBUS).
    """
    done = 0
    while done < file.size:
        count = os.preadv(file.descriptor, [data[done:].data], file.begin + done)
        if count == 0:
            what = f"the source changed while it was read: it ends at byte {file.begin + done}"
            raise BundleError(what, where=str(file.path), hint="Build again")
        done += count


def read(file: Range) -> Bytes:
    """All bytes of a range, in memory of their own; raises what ``fill`` raises."""
    data = np.empty(file.size, np.uint8)
    fill(data, file)
    return data


def chunks(file: Range) -> Iterator[Bytes]:
    """A range's bytes, up to ``CHUNK`` at a time, each in the memory of the one before; raises what ``fill`` raises."""
    memory = np.empty(min(CHUNK, file.size), np.uint8)
    for begin in range(0, file.size, CHUNK):
        data = memory[: file.size - begin]
        fill(data, file.cut(begin, begin + data.size))
        yield data


def clone(source: Range, target: int) -> bool:
    """Let the file ``target`` share a whole file's blocks (Btrfs, XFS, bcachefs); False where that is not possible."""
    try:
        fcntl.ioctl(target, _FICLONE, source.descriptor)
    except OSError as error:
        if error.errno in _CANNOT_CLONE:
            return False
        raise
    return True
