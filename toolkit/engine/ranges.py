"""Ranges of open files, mapped or read."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import BundleError


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


def mapped(file: Range, begin: int, end: int) -> NDArray[np.uint8]:
    """Bytes ``begin`` up to ``end`` of a file as the page cache has them; ``BundleError`` for one that was cut short.

    A file that is cut short between that look at its length and the use of the bytes ends the process (SIGBUS).
    """
    if os.fstat(file.descriptor).st_size < end:
        raise shorter(file.path, begin)
    offset = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    window = mmap.mmap(file.descriptor, end - offset, flags=flags, prot=mmap.PROT_READ, offset=offset)
    return np.frombuffer(window, np.uint8)[begin - offset :]


def fill(descriptor: int, begin: int, view: memoryview, path: Path) -> None:
    """Read into all of ``view`` from byte ``begin`` on; ``BundleError`` where the file is shorter than it was."""
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], begin + done)
        if count == 0:
            raise shorter(path, begin + done)
        done += count


def shorter(path: Path, end: int) -> BundleError:
    what = f"the source changed while it was read: it ends at byte {end}"
    return BundleError(what, where=str(path), hint="Build again")
