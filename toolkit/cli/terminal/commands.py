"""What is typed at the prompt of ``trtkit chat``: text, or a command that begins with a slash."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.errors import ChatError

COMMANDS = {
    "reset": "forget the conversation, keep the instructions",
    "system": "TEXT: set the instructions (without TEXT: none)",
    "effort": "low|medium|high: how long the model may think",
    "result": "TEXT: answer the model's first open tool call",
    "save": "FILE: write the conversation as JSON",
    "load": "FILE: go on from a conversation in JSON or JSON Lines",
    "stats": "what this conversation took so far",
    "help": "show this list",
    "quit": "end (Ctrl-D does, too)",
}
NEED_ARGUMENT = ("effort", "result", "save", "load")
QUOTES = '"""'
HELP = "\n".join(
    [f"/{name:<7} {meaning}" for name, meaning in COMMANDS.items()]
    + [f"{QUOTES}      begins and ends a message of several lines", "Ctrl-C   stops the answer"]
)


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    argument: str = ""


def parse_line(line: str) -> Command | str:
    """A command, or the text to send; ``ChatError`` for an unknown command. A text may begin with two slashes."""
    if not line.startswith("/"):
        return line
    if line.startswith("//"):
        return line[1:]
    name, _, argument = line[1:].strip().partition(" ")
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        raise ChatError(f"no command /{name}", hint=f"Did you mean /{near[0]}?" if near else "Type: /help")
    if name in NEED_ARGUMENT and not argument.strip():
        raise ChatError(f"/{name} needs {COMMANDS[name].partition(':')[0]}")
    return Command(name, argument.strip())


def read_message(read: Callable[[str], str]) -> str:
    """One line, or what stands between two marks of three quotes; ``read`` gets a prompt and raises ``EOFError``.

    Raises ``ChatError`` for a line that is not UTF-8.
    """
    line = _utf8(read("> "))
    if not line.lstrip().startswith(QUOTES):
        return line
    lines = [line.lstrip().removeprefix(QUOTES)]
    while not lines[-1].rstrip().endswith(QUOTES):
        lines.append(_utf8(read(". ")))
    lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
    return "\n".join(lines).strip("\n")


def _utf8(line: str) -> str:
    # other bytes come from the terminal as lone surrogates, which no tokenizer takes
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise ChatError(f"what was typed is not UTF-8 at character {error.start}") from None
    return line
