"""Text from a checkpoint's files, made fit for one line of a terminal."""

from __future__ import annotations

MOST = 120


def shown(text: object, most: int = MOST) -> str:
    """``text`` with escapes for what does not print (line breaks, ANSI and OSC sequences), cut after ``most``."""
    whole = str(text)
    cut = whole if len(whole) <= most else whole[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut)
