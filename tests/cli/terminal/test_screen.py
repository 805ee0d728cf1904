from __future__ import annotations

import pytest

from toolkit.chat import ChatDelta, ToolCall
from toolkit.chat.messages import FunctionCall
from toolkit.cli.terminal.screen import Screen

ANSWER = [
    ChatDelta("analysis", "Two and", 1),
    ChatDelta("analysis", " two.", 1),
    ChatDelta("commentary", "{}", 2, "functions.f"),
    ChatDelta("commentary", "So:", 4),
    ChatDelta("final", "4", 3),
    ChatDelta("final", ".\n", 3),
]


@pytest.mark.parametrize(("show_analysis", "stderr"), [(True, "Two and two.\nSo:\nnote\n"), (False, "So:\nnote\n")])
def test_answers_go_to_stdout_and_thoughts_to_stderr(
    capsys: pytest.CaptureFixture[str], show_analysis: bool, stderr: str
) -> None:
    screen = Screen(show_analysis=show_analysis)
    for delta in ANSWER:
        screen.show(delta)
    screen.note("note")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("4.\n", stderr)


def test_every_message_begins_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(show_analysis=True)
    for index, text in enumerate(("a", "b\n", "c")):
        screen.show(ChatDelta("final", text, index))
    screen.error("two\nlines")
    screen.end_line()
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("a\nb\nc\n", "error: two lines\n")


def test_calls_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    calls = (
        ToolCall(id="call_1", function=FunctionCall(name="f", arguments='{"a": "é"}')),
        ToolCall(id="call_2", function=FunctionCall(name="g", arguments="{oops")),
    )
    Screen(show_analysis=True).calls(calls)
    assert capsys.readouterr().out == (
        '{"tool": "f", "id": "call_1", "arguments": {"a": "é"}}\n{"tool": "g", "id": "call_2", "arguments": "{oops"}\n'
    )


def test_a_call_nested_without_end_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    Screen(show_analysis=True).calls((ToolCall(id="call_1", function=FunctionCall(name="f", arguments=deep)),))
    assert capsys.readouterr().out == f'{{"tool": "f", "id": "call_1", "arguments": "{deep}"}}\n'


def test_what_a_model_says_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(show_analysis=True)
    for channel in ("final", "raw"):
        screen.show(ChatDelta(channel, "a\x1b[2J\x9b\r[bold]b", 1 + (channel == "raw")))  # type: ignore[arg-type]
    screen.note("[red]n\x07")
    shown = capsys.readouterr()
    plain = "a\N{REPLACEMENT CHARACTER}[2J" + "\N{REPLACEMENT CHARACTER}" * 2 + "[bold]b"
    assert (shown.out, shown.err) == (f"{plain}\n", f"{plain}\n[red]n\N{REPLACEMENT CHARACTER}\n")
