"""Reading a folder that may hold anything: folders, pipes and devices where files should be, links in a circle."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from toolkit.checkpoint.words import COMPLETE, RECOVER
from toolkit.errors import CheckpointError

_PERMISSION = "Make it readable for this user (chmod, chown)"
_HINTS = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.ELOOP: "Replace the link by the file that it should lead to",
    errno.ENOENT: COMPLETE,
    errno.EIO: RECOVER,
}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a ``CheckpointError`` that names the file, or ``folder`` where the error has none."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or folder)
        hint = _HINTS.get(error.errno or 0)
        raise CheckpointError(f"cannot be read ({error.strerror})", where=where, hint=hint) from error


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading. ``CheckpointError`` for what is no regular file: opening a pipe would wait for ever."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        hint = "Put the file itself in its place"
        raise CheckpointError(f"is {kind}, not a file", where=str(path), hint=hint)
    return path.open("rb")


def file_names(folder: Path) -> tuple[str, ...]:
    """What is in ``folder``, sorted, of whatever kind; raises ``CheckpointError`` unless it is a folder."""
    with reading(folder):
        try:
            return tuple(sorted(path.name for path in folder.iterdir()))
        except FileNotFoundError:
            what, hint = "no such folder", "Name the checkpoint's folder (in a recipe: checkpoint.path)"
        except NotADirectoryError:
            what, hint = "is a file, not a folder", "Name the folder that holds it"
    raise CheckpointError(what, where=str(folder), hint=hint)
