"""The name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that differs only in case or in ``-`` and ``_``, else the most similar one; None if none is near."""
    known = list(names)
    plain = {_plain(candidate): candidate for candidate in reversed(known)}
    if _plain(name) in plain:
        return plain[_plain(name)]
    # the ratio is quadratic, and no name is that long
    close = difflib.get_close_matches(_plain(name[:100]), plain, n=1, cutoff=0.7)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
