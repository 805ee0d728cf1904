from __future__ import annotations

import pytest

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
