"""Folders that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from toolkit.checkpoint.files import sync_folder, write_atomic

UNFINISHED = ".tmp"


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` under a temporary name beside ``folder``, make them durable, then rename.

    Raises ``FileExistsError`` when ``folder`` is there already, and leaves nothing when the disk says no.
    """
    if folder.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}{UNFINISHED}")
    unfinished.mkdir()
    try:
        for name, data in files.items():
            write_atomic(unfinished / name, data)
        unfinished.rename(folder)
    except OSError:
        # a full disk: what could be written is in the way of the next attempt
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove every file and folder below ``folder`` that was being written when its writer ended."""
    for path in sorted(folder.rglob(f"*{UNFINISHED}"), reverse=True):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
