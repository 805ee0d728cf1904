"""JSON as RFC 8259 has it, and as transformers reads it."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.checkpoint.strict_json import NotAnObjectError, parse_object

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES), st.booleans(), st.booleans())
def test_an_object_is_read_back(value: dict[str, Any], ascii_only: bool, lenient: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only).encode(), lenient=lenient) == value


@given(st.binary(), st.booleans())
def test_any_bytes(data: bytes, lenient: bool) -> None:
    with contextlib.suppress(NotAnObjectError):
        parse_object(data, lenient=lenient)


@pytest.mark.parametrize(
    ("data", "reason", "byte"),
    [
        (b"", "not JSON (Expecting value)", 0),
        (b"[1]", "not a JSON object", None),
        ('{"ä": x}'.encode(), "not JSON (Expecting value)", 7),
        (b'{"a": "\xff"}', "not JSON (not UTF-8)", 7),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON (Unexpected UTF-8 BOM (decode using utf-8-sig))", 0),
        (b'{"a": [{"b": 1, "b": 2}]}', "not JSON (it holds 'b' twice)", None),
        (b'{"a": NaN}', "not JSON (NaN is no number there)", None),
        (b'{"a": Infinity}', "not JSON (Infinity is no number there)", None),
        (b'{"a": -Infinity}', "not JSON (-Infinity is no number there)", None),
        (b'{"\\ud800": 1}', "not JSON (half of a surrogate pair)", None),
        (b'{"a": ["\\udfff"]}', "not JSON (half of a surrogate pair)", None),
    ],
)
def test_refused(data: bytes, reason: str, byte: int | None) -> None:
    with pytest.raises(NotAnObjectError) as caught:
        parse_object(data)
    assert (caught.value.reason, caught.value.byte) == (reason, byte)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse_object(b'{"\\ud83d\\ude00": 1}') == {"\U0001f600": 1}


def test_lenient_is_what_python_writes_but_no_nan() -> None:
    assert parse_object(b'{"a": Infinity, "a": -Infinity}', lenient=True) == {"a": -math.inf}
    with pytest.raises(NotAnObjectError, match="NaN"):
        parse_object(b'{"a": NaN}', lenient=True)
