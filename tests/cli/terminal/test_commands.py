from __future__ import annotations

from collections.abc import Callable

import pytest

from toolkit.cli.terminal.commands import COMMANDS, HELP, Command, parse_line, read_message
from toolkit.errors import ChatError


def typed(*lines: str) -> Callable[[str], str]:
    left = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return read


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hello /quit", "hello /quit"),
        ("//etc is a folder", "/etc is a folder"),
        ("/quit", Command("quit")),
        ("/system  Be brief. ", Command("system", "Be brief.")),
        ("/save a b.json", Command("save", "a b.json")),
    ],
)
def test_lines(line: str, expected: Command | str) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/rest", "no command /rest. Did you mean /reset?"),
        ("/x", "no command /x. Type: /help"),
        ("/effort", "/effort needs low|medium|high"),
        ("/load  ", "/load needs FILE"),
    ],
)
def test_mistakes(line: str, said: str) -> None:
    with pytest.raises(ChatError) as error:
        parse_line(line)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["one"], "one"),
        (['"""one', "two", 'three"""'], "one\ntwo\nthree"),
        (['  """', "  two", '"""  '], "  two"),
        (['"""one"""'], "one"),
        (['""""""'], ""),
    ],
)
def test_messages(lines: list[str], message: str) -> None:
    assert read_message(typed(*lines)) == message


def test_a_message_that_is_not_ended() -> None:
    with pytest.raises(EOFError):
        read_message(typed('"""one', "two"))


def test_help_lists_every_command() -> None:
    assert all(f"/{name} " in HELP for name in COMMANDS)


@pytest.mark.parametrize("lines", [("a\udcff",), ('"""fine', "a\udcff", 'end"""')])
def test_bytes_that_are_no_utf8_are_refused_before_they_are_sent(lines: tuple[str, ...]) -> None:
    with pytest.raises(ChatError) as caught:
        read_message(typed(*lines))
    assert str(caught.value) == "what was typed is not UTF-8 at character 1"
