"""Bytes from file to file, by the kernel where it can: a clone that shares the blocks, or a copy that stays inside."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable

from toolkit.engine.ranges import Range, fill, shorter

STEP = 16 << 20
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_CANNOT = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTTY, errno.EBADF}
"""What kernels and file systems answer that cannot clone, or copy between these two files."""

Tick = Callable[[int], None]


def clone(source: Range, target: int) -> bool:
    """Let the file ``target`` share a whole file's blocks (Btrfs, XFS, bcachefs); False where that is not possible."""
    try:
        fcntl.ioctl(target, _FICLONE, source.descriptor)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def copy(source: Range, target: int, at: int, tick: Tick) -> None:
    """Copy a range to byte ``at`` of ``target``, with ``copy_file_range``, else by reading and writing."""
    done = 0
    while done < source.size:
        count = _copy_inside(source, target, at, done, min(STEP, source.size - done))
        done += count
        tick(count)


def _copy_inside(source: Range, target: int, at: int, done: int, count: int) -> int:
    try:
        copied = os.copy_file_range(source.descriptor, target, count, source.begin + done, at + done)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return _copy_through(source, target, at, done, count)
    if copied == 0:
        raise shorter(source.path, source.begin + done)
    return copied


def _copy_through(source: Range, target: int, at: int, done: int, count: int) -> int:
    data = memoryview(bytearray(count))
    fill(source.descriptor, source.begin + done, data, source.path)
    write(target, at + done, data)
    return count


def write(target: int, at: int, data: memoryview) -> None:
    """Write all of ``data`` at byte ``at``."""
    while data:
        count = os.pwrite(target, data, at)
        data, at = data[count:], at + count
