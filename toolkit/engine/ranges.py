"""Ranges of open files, and reading them whole."""

from __future__ import annotations

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


def read(where: Range) -> NDArray[np.uint8]:
    """The bytes of a range; ``BundleError`` where the file is shorter than it was."""
    data = np.empty(where.size, np.uint8)
    fill(where.descriptor, where.begin, data.data, where.path)
    return data


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
