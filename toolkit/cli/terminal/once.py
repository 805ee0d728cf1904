"""One answer without a terminal: the text, or all of it as one JSON document."""

from __future__ import annotations

from typing import Any

from toolkit.chat.deltas import ChatDelta, to_message
from toolkit.chat.session import Session
from toolkit.cli.terminal.answer import Answer
from toolkit.cli.terminal.loop import Generate, forgotten
from toolkit.cli.terminal.screen import Screen


def answer_once(session: Session, generate: Generate, screen: Screen, *, as_json: bool) -> dict[str, Any]:
    """Answer what was said last, shown as it comes unless ``as_json``; returns that document.

    Raises ``TrtkitError`` and ``KeyboardInterrupt``, after showing what was said until then.
    """

    def show(delta: ChatDelta) -> None:
        if not as_json:
            screen.show(delta)

    asked = session.ask()
    if asked.dropped:
        screen.note(forgotten(asked.dropped, session.context))
    answer = Answer(session.chat.parser(asked.prompt), show)
    try:
        generate(asked, answer)
    finally:
        screen.end_line()
    message = to_message(answer.deltas)
    if not as_json:
        screen.calls(message.tool_calls)
    return {
        "message": message.to_dict(),
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
        "ttft_s": answer.ttft_s,
        "total_s": answer.total_s,
    }
