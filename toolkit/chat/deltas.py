"""What a model says, piece by piece, and the message that the pieces make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from toolkit.chat.messages import FunctionCall, Message, ToolCall

Channel = Literal["analysis", "commentary", "final", "raw"]
FUNCTIONS = "functions."


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """New text in one channel. ``recipient`` is the tool that it is for, as the model named it.

    ``analysis`` is what the model thinks, ``commentary`` what it says between calls, ``final`` the answer; ``raw`` is
    text of a malformed message that belongs nowhere. Deltas of one message have one ``index``.
    """

    channel: Channel
    text: str
    index: int = 0
    recipient: str | None = None


class ChatParser(Protocol):
    """Token ids of one answer → deltas. The sum of their texts is all that the model said."""

    def push(self, token_ids: Sequence[int]) -> list[ChatDelta]:
        """The text that is certain after these tokens; an end token may be among them."""
        ...

    def finish(self) -> list[ChatDelta]:
        """The rest, when no more tokens will come."""
        ...


def to_message(deltas: Sequence[ChatDelta], calls_before: int = 0) -> Message:
    """The assistant's message that the deltas of one answer make; ids of tool calls count on from ``calls_before``.

    What was said beside the answer is part of the content where nothing else is.
    """
    texts: dict[Channel, str] = {"analysis": "", "commentary": "", "final": "", "raw": ""}
    calls: dict[int, tuple[str, str]] = {}
    for delta in deltas:
        if delta.recipient is None:
            texts[delta.channel] += delta.text
        else:
            calls[delta.index] = (delta.recipient, calls.get(delta.index, ("", ""))[1] + delta.text)
    return Message(
        role="assistant",
        content=texts["final"] or texts["commentary"] or texts["raw"],
        reasoning_content=texts["analysis"] or None,
        tool_calls=tuple(
            ToolCall(
                id=f"call_{calls_before + number}",
                function=FunctionCall(name=recipient.removeprefix(FUNCTIONS), arguments=arguments),
            )
            for number, (recipient, arguments) in enumerate(calls.values(), 1)
        ),
    )
