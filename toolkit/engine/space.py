"""Whether a bundle fits on the disk, before anything is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from toolkit.engine.ranges import Range, clone
from toolkit.errors import BundleError

_RESERVE = 8 << 20  # JSON files, journal, directories


def check_space(folder: Path, needed: int, clonable: list[Range]) -> None:
    """Raise ``BundleError`` unless ``needed`` bytes are free where ``folder`` is.

    ``clonable`` are the source files among them that a file system with shared blocks need not store again.
    """
    free = shutil.disk_usage(folder).free
    if needed + _RESERVE <= free:
        return
    if clonable and _clones(clonable[0], folder):
        needed -= sum(file.size for file in clonable)
    if needed + _RESERVE > free:
        what = f"not enough room: {needed + _RESERVE:,} more bytes are needed, {free:,} are free"
        raise BundleError(what, where=str(folder.parent), hint="Make room, or set engine.output to another disk")


def _clones(file: Range, folder: Path) -> bool:
    probe = folder / "clone.tmp"
    descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        return clone(file, descriptor)
    finally:
        os.close(descriptor)
        probe.unlink()
