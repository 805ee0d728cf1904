"""A file that is written once, from its first byte to its last, and hashed on the way.

Three threads share the work, so that a single file keeps two processors and the disk busy: the caller's fills a buffer
from a source or from memory, a second one hashes it, a third one writes it. The writes go past the page cache where
the file system can (``O_DIRECT``, open(2)): nothing is copied once more, no page is allocated or evicted, and little is
left for the sync at the end.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from toolkit.engine.digests import Digests, Part
from toolkit.engine.ranges import Bytes, Range, fill

BUFFER, _BUFFERS = 8 << 20, 4
_BLOCK = 4096  # of addresses, offsets and sizes of direct writes: a multiple of a disk's logical blocks
_DIRECT = getattr(os, "O_DIRECT", 0)


class _Buffer:
    """Memory on a page's boundary, and who still reads it."""

    def __init__(self) -> None:
        self.memory: Bytes = np.frombuffer(mmap.mmap(-1, BUFFER), np.uint8)
        self.parts: list[Part] = []
        self.users: list[Future[None]] = []

    def wait(self) -> None:
        for user in self.users:
            user.result()
        self.parts, self.users = [], []


class Output:
    """The open file ``descriptor``, empty until now, and the ``digests`` that see all of it.

    Errors of the other threads (``OSError``, ``BundleError`` for a source that was cut short, whatever a tick raises)
    are raised here, some calls later. Leaving the context waits for both threads.
    """

    def __init__(self, descriptor: int, digests: Digests) -> None:
        self.position = 0
        self._descriptor, self._digests = descriptor, digests
        self._direct = _set_direct(descriptor, True)
        self._buffers, self._used = [_Buffer() for _ in range(_BUFFERS)], 0
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="trtkit-build-hash")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="trtkit-build-write")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._hasher, self._writer):
            pool.shutdown(wait=True, cancel_futures=True)

    def append(self, data: Bytes | Range, bound: int = 0) -> None:
        """Computed bytes, or a range of another file; ``bound`` as in ``Part``."""
        done = 0
        while done < data.size:
            room, origin = self._room(data.size - done), None
            if isinstance(data, Range):
                fill(room, origin := data.cut(done, done + room.size))
            else:
                room[:] = data[done : done + room.size]
            self._buffers[0].parts.append(Part(room, origin, bound))
            self._used += room.size
            self.position += room.size
            done += room.size

    def finish(self) -> None:
        """Have all of it hashed and written."""
        self._send()
        for buffer in self._buffers:
            buffer.wait()
        os.ftruncate(self._descriptor, self.position)

    def _room(self, wanted: int) -> Bytes:
        if self._used == BUFFER:
            self._send()
        return self._buffers[0].memory[self._used : self._used + wanted]

    def _send(self) -> None:
        """Give the buffer to the others, and take up the one that they had first."""
        buffer = self._buffers[0]
        size = -(-self._used // _BLOCK) * _BLOCK
        buffer.memory[self._used : size] = 0
        begin = self.position - self._used
        buffer.users = [
            self._hasher.submit(self._hash, buffer.parts),
            self._writer.submit(self._write, buffer.memory[:size], begin),
        ]
        self._buffers.append(self._buffers.pop(0))
        self._buffers[0].wait()
        self._used = 0

    def _hash(self, parts: list[Part]) -> None:
        for part in parts:
            self._digests.update(part)

    def _write(self, data: Bytes, begin: int) -> None:
        """Whole blocks: what is too much goes in the end."""
        done = 0
        while done < data.size:
            try:
                done += os.pwrite(self._descriptor, data[done:].data, begin + done)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._direct = _set_direct(self._descriptor, False)
        if not self._direct and hasattr(os, "posix_fadvise"):
            # has the kernel begin to write these pages (mm/fadvise.c), which otherwise waits for the sync
            os.posix_fadvise(self._descriptor, begin, done, os.POSIX_FADV_DONTNEED)


def _set_direct(descriptor: int, wanted: bool) -> bool:
    """Let writes go past the page cache, or through it; whether they do go past it."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~_DIRECT
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT if wanted else flags)
    except OSError:  # EINVAL: the file system cannot
        return False
    return wanted and _DIRECT != 0
