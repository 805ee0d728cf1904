from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.chat import Message, Tool, parse_conversation, read_conversation, read_tools
from toolkit.errors import ChatError

USER = b'{"role": "user", "content": "hi"}'
TOOL = b'{"type": "function", "function": {"name": "f"}}'
PARSED = (Message(role="user", content="hi"),)


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"[" + USER + b"]", PARSED),
        (USER, PARSED),
        (b'{"messages": [' + USER + b"]}", PARSED),
        (b'{"messages":\n[' + USER + b"]\n}\n", PARSED),
        (USER + b"\n\n" + USER + b"\n", PARSED * 2),
    ],
)
def test_every_form(data: bytes, messages: tuple[Message, ...]) -> None:
    assert parse_conversation(data, "x").messages == messages


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b" \n", 'x: no messages. A message is {"role": "user", "content": "..."}'),
        (b"hello", "x: is not JSON (Expecting value), byte 0"),
        (b'[{"role":\n "user" 3}]', "x:2: is not JSON (Expecting ',' delimiter), byte 18"),
        (USER + b"\n{oops}\n", "x:2: is not JSON (Expecting property name enclosed in double quotes), byte 1"),
        (USER + b'\n{"role": "user"}\n', "x:2: no content"),
        (b'{"a": 1, "a": 2}', "x: is not JSON (it holds 'a' twice)"),
        (b"\xff", "x: is not JSON (not UTF-8), byte 0"),
        (b'{"messages": 3}', "x: messages: is no list"),
    ],
)
def test_mistakes_name_the_line(data: bytes, said: str) -> None:
    with pytest.raises(ChatError) as error:
        parse_conversation(data, "x")
    assert str(error.value) == said


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(ChatError, match="cannot be read"):
        read_conversation(path)
    path.write_bytes(USER)
    assert read_conversation(path).messages == PARSED


@pytest.mark.parametrize("data", [b"[" + TOOL + b"]", b'{"tools": [' + TOOL + b"]}"])
def test_tools(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(data)
    assert read_tools(path) == (Tool.model_validate({"type": "function", "function": {"name": "f"}}),)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[3]", "tools[0]: input should be a valid dictionary or instance of Tool, not 3"),
        (b"{}", "tools: input should be a valid list, not None"),
        (b"{", "is not JSON (Expecting property name enclosed in double quotes), byte 1"),
    ],
)
def test_mistakes_in_tools(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(data)
    with pytest.raises(ChatError) as error:
        read_tools(path)
    assert str(error.value) == f"{path}: {said}"
