"""JSON objects from files that nobody has checked: one that is none is refused with the reason and the byte.

``json.loads`` takes more than RFC 8259 allows and more than the readers in C++ and Rust take: NaN and Infinity, a key
twice, UTF-16, half of a surrogate pair. All of it is refused here. ``lenient`` is for ``config.json``, which
transformers writes and reads with Python's module: Mamba models carry ``Infinity`` in theirs.

Parsed, a text of a few megabytes can take thirty times its size. So what could be a value is counted in the bytes
before: a header of 250,000 tensors stays below both limits, and what they let pass takes less than 400 MB.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from toolkit.checkpoint.words import short

MAX_NESTS = 800_000  # lists and objects; a header has three for a tensor
MAX_COMMAS = 2_000_000  # a header has about six for a tensor, an index one


class NotAnObjectError(ValueError):
    """``reason`` is what follows "is"; ``byte`` is where the text went wrong, None where that is not known."""

    def __init__(self, reason: str, byte: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.byte = byte


def parse_object(data: bytes, *, lenient: bool = False) -> dict[str, Any]:
    """The JSON object in ``data``; raises ``NotAnObjectError``, whatever the bytes are."""
    if data.count(b"[") + data.count(b"{") > MAX_NESTS or data.count(b",") > MAX_COMMAS:
        raise NotAnObjectError(f"too much to read (over {MAX_NESTS} lists and objects, or {MAX_COMMAS} commas)")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NotAnObjectError("not JSON (not UTF-8)", error.start) from None
    value = _loads(text, lenient)
    if not isinstance(value, dict):
        raise NotAnObjectError("not a JSON object")
    if "\\u" in text:
        _refuse_half_characters(value)
    return value


def _loads(text: str, lenient: bool) -> object:
    try:
        return json.loads(
            text,
            object_pairs_hook=None if lenient else _unique,
            parse_constant=_infinity if lenient else _refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise NotAnObjectError(f"not JSON ({error.msg})", len(text[: error.pos].encode())) from None
    except NotAnObjectError:
        raise
    except RecursionError:
        raise NotAnObjectError("not JSON (nested too deep)") from None
    except ValueError:  # Python's limit on the digits of an integer
        raise NotAnObjectError("not JSON (a number is too long)") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise NotAnObjectError(f"not JSON (it holds {short(key)} twice)")
        mapping[key] = value
    return mapping


def _infinity(constant: str) -> float:
    return _refuse_constant(constant) if constant == "NaN" else float(constant)


def _refuse_constant(constant: str) -> NoReturn:
    raise NotAnObjectError(f"not JSON ({constant} is no number there)")


def _refuse_half_characters(value: dict[str, Any]) -> None:
    """Half of a surrogate pair cannot be printed, nor written to a file again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotAnObjectError("not JSON (half of a surrogate pair)") from None
