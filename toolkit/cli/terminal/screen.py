"""What the terminal shows: answers and tool calls on stdout, thoughts, notices and statistics dimmed on stderr."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.text import Text

from toolkit.chat.deltas import ChatDelta
from toolkit.chat.messages import ToolCall

CONTROLS = {code: "�" for code in (*range(32), *range(127, 160)) if code not in b"\n\t"}
"""A model's text is foreign: an escape sequence in it must not reach the terminal."""


class Screen:
    """``show_analysis`` says whether what the model thinks is shown as it comes."""

    def __init__(self, *, show_analysis: bool) -> None:
        self.show_analysis = show_analysis
        self._notes = Console(stderr=True, highlight=False)
        self._section: tuple[int, str] | None = None
        self._line_is_open = False

    def show(self, delta: ChatDelta) -> None:
        """A delta of the answer; those of tool calls come whole, by ``calls``."""
        hidden = delta.channel == "analysis" and not self.show_analysis
        if delta.recipient is not None or hidden or not delta.text:
            return
        if (delta.index, delta.channel) != self._section:
            self.end_line()
        self._section = (delta.index, delta.channel)
        text = delta.text.translate(CONTROLS)
        if delta.channel == "final":
            click.echo(text, nl=False)
        else:
            self._notes.print(Text(text, style="dim"), end="", soft_wrap=True)
        self._line_is_open = not text.endswith("\n")

    def calls(self, calls: tuple[ToolCall, ...]) -> None:
        """One JSON object a line; arguments that are no JSON as they are."""
        self.end_line()
        for call in calls:
            click.echo(_line(call))

    def note(self, text: str) -> None:
        self.end_line()
        self._notes.print(Text(text.translate(CONTROLS), style="dim"), soft_wrap=True)

    def error(self, text: str) -> None:
        self.end_line()
        click.echo(f"error: {' '.join(text.split())}", err=True)

    def end_line(self) -> None:
        """Begin the next thing on a line of its own."""
        if self._line_is_open:
            click.echo(err=self._section is not None and self._section[1] != "final")
        self._line_is_open, self._section = False, None


def _line(call: ToolCall) -> str:
    said: dict[str, object] = {"tool": call.function.name, "id": call.id}
    arguments = call.function.arguments
    try:
        return json.dumps({**said, "arguments": json.loads(arguments)}, ensure_ascii=False)
    except (ValueError, RecursionError):
        return json.dumps({**said, "arguments": arguments}, ensure_ascii=False)
