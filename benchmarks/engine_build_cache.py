"""A folder's files in the page cache, or out of it; without root."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np


def load(folder: Path) -> None:
    """Have all files in the page cache."""
    for path in folder.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(8 << 20):
                pass


def drop(folder: Path) -> None:
    """Have none of them there; what is not on the disk yet stays."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def resident(folder: Path) -> float:
    """The share of the files' pages that are there, by mincore(2)."""
    found = [pages(path) for path in folder.iterdir() if path.stat().st_size]
    return float(np.concatenate(found).mean())


def pages(path: Path) -> np.ndarray:
    """For each page of a file whether it is in the page cache."""
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as memory:
        view = np.frombuffer(memory, np.uint8)
        states = np.empty(-(-size // mmap.PAGESIZE), np.uint8)
        address = ctypes.c_void_p(view.ctypes.data)
        if ctypes.CDLL(None, use_errno=True).mincore(
            address, ctypes.c_size_t(size), states.ctypes.data_as(ctypes.c_void_p)
        ):
            raise OSError(ctypes.get_errno(), "mincore", str(path))
        del view
    return states & 1
