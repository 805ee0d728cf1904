from __future__ import annotations

import inspect
import re

import pytest

from toolkit import errors
from toolkit.errors import TrtkitError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TrtkitError("it broke"), "it broke"),
        (TrtkitError("it broke", where="x", hint="Type: this"), "x: it broke. Type: this"),
        (TrtkitError("The server said no.", hint="Type: this"), "The server said no. Type: this"),
        (TrtkitError("The server said no."), "The server said no."),
    ],
)
def test_what_where_and_hint_make_one_line(error: TrtkitError, text: str) -> None:
    assert str(error) == text


def test_the_drawn_tree_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for bars, name in re.findall(r"^    ((?:[│├└]?[ ─]{1,3})*)(\w+Error) ", errors.__doc__ or "", re.MULTILINE):
        depth = len(bars) // 4
        above = [*above[:depth], name]
        drawn[name] = above[depth - 1] if depth else "Exception"
    classes = inspect.getmembers(errors, inspect.isclass)
    assert drawn == {name: kind.__base__.__name__ for name, kind in classes}
