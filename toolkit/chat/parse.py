"""Conversations from JSON and JSON Lines, each mistake as one line that names file, line or key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from toolkit.chat.messages import Conversation, Message, Tool
from toolkit.checkpoint.strict_json import NotAnObjectError, parse_object
from toolkit.errors import ChatError

SHOWN = 60
_LIST_KEY = b'{"messages":'
T = TypeVar("T")


def read_conversation(path: Path) -> Conversation:
    """The conversation in a file; raises ``ChatError``."""
    return parse_conversation(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """The bytes of a file that the user named; ``ChatError`` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ChatError(f"cannot be read ({error.strerror})", where=str(path)) from None


def parse_conversation(data: bytes, where: str) -> Conversation:
    """A JSON list of messages, an object with ``messages``, or JSON Lines with one message a line."""
    text = data.strip()
    if not text:
        raise ChatError("no messages", where=where, hint='A message is {"role": "user", "content": "..."}')
    if text.startswith(b"["):
        return conversation_from(_object(_LIST_KEY + data + b"}", where, -len(_LIST_KEY)), where)
    lines = [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    if len(lines) > 1 and _is_object(lines[0][1]):
        messages = [
            _validated(TypeAdapter(Message), _object(line, f"{where}:{number}"), f"{where}:{number}")
            for number, line in lines
        ]
        return conversation_from({"messages": [message.to_dict() for message in messages]}, where)
    value = _object(data, where)
    return conversation_from(value if "messages" in value else {"messages": [value]}, where)


def conversation_from(value: dict[str, Any], where: str) -> Conversation:
    """From parsed JSON: ``messages``, and if wanted ``tools`` and the fields of ``Options``."""
    return _validated(TypeAdapter(Conversation), value, where)


def read_tools(path: Path) -> tuple[Tool, ...]:
    """A JSON list of tools, or an object with ``tools``, from a file."""
    data = read_file(path)
    if data.strip().startswith(b"["):
        data = b'{"tools":' + data + b"}"
    tools = _object(data, str(path)).get("tools")
    return tuple(_validated(TypeAdapter(list[Tool]), tools, str(path), "tools"))


def _is_object(line: bytes) -> bool:
    try:
        parse_object(line)
    except NotAnObjectError:
        return False
    return True


def _object(data: bytes, where: str, shift: int = 0) -> dict[str, Any]:
    try:
        return parse_object(data)
    except NotAnObjectError as error:
        if error.byte is None:
            raise ChatError(f"is {error.reason}", where=where) from None
        line = data.count(b"\n", 0, error.byte) + 1
        place = f"{where}:{line}" if b"\n" in data else where
        raise ChatError(f"is {error.reason}, byte {max(error.byte + shift, 0)}", where=place) from None


def _validated(adapter: TypeAdapter[T], value: Any, where: str, under: str = "") -> T:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise _explained(error, where, under) from None


def _explained(error: ValidationError, where: str, under: str) -> ChatError:
    # a misspelt required key is both unknown and missing; the misspelling is what to say
    first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    key = under
    for part in first["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    if first["type"] == "extra_forbidden":
        return ChatError(f"unknown key {_short(key)}", where=where)
    if first["type"] == "missing":
        return ChatError(f"missing key {_short(key)}", where=where)
    said = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", not {_short(repr(first.get('input')))}"
    said = f"{said[0].lower()}{said[1:]}{shown}"
    return ChatError(f"{_short(key)}: {said}" if key else said, where=where)


def _short(text: str) -> str:
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
