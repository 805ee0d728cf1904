"""What the errors of this room have in common: values cut to a line's length, and what to do next."""

from __future__ import annotations

import reprlib

RECOVER = "Copy or download this file again"
COMPLETE = "Complete the download, or name a complete folder"
SAME_EXPORT = "Take the index and the shards from one export"
CORRECT = "Correct it, or take this file from the export again"

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 200


def short(value: object) -> str:
    """``repr`` of a value from a file, cut where it is long: a name of a megabyte must not become an error of one."""
    return _repr.repr(value)
