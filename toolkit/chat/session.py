"""A conversation that grows turn by turn and stays inside the model's context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.chat.deltas import ChatDelta, to_message
from toolkit.chat.messages import Conversation, Message, Options, Tool
from toolkit.chat.open import Chat
from toolkit.errors import ChatError

MOST_TOKENS = 4096
"""The longest answer where the user sets no limit but the context is known; 1,024 where it is not."""
UNKNOWN_CONTEXT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """What to generate from: token ids, and the most tokens of the answer. ``dropped`` turns no longer fit."""

    prompt: tuple[int, ...]
    max_tokens: int
    dropped: int = 0


@dataclass
class Session:
    """``context`` is what prompt and answer share, in tokens, None where that is not known; so is ``max_tokens``."""

    chat: Chat
    context: int | None = None
    max_tokens: int | None = None
    system: str = ""
    developer: str = ""
    tools: tuple[Tool, ...] = ()
    options: Options = field(default_factory=Options)
    turns: list[Message] = field(default_factory=list)
    _last_loaded: Message | None = field(default=None, init=False, repr=False)

    def load(self, conversation: Conversation) -> None:
        """Take another conversation's messages; and its tools and options, where it has any."""
        said = {role: [m.content for m in conversation.messages if m.role == role] for role in ("system", "developer")}
        self.system, self.developer = "\n\n".join(said["system"]), "\n\n".join(said["developer"])
        self.turns = list(conversation.turns)
        self._last_loaded = self.turns[-1] if self.turns else None
        self.tools = conversation.tools or self.tools
        given = {key: value for key in Options.model_fields if (value := getattr(conversation, key)) is not None}
        self.options = self.options.model_copy(update=given)

    @property
    def conversation(self) -> Conversation:
        """What was said so far; ``ChatError`` where that is nothing."""
        heads = (("system", self.system), ("developer", self.developer))
        messages = [Message(role=role, content=text) for role, text in heads if text]  # type: ignore[arg-type]
        messages += self.turns
        if not messages:
            raise ChatError("nothing was said yet")
        return Conversation(messages=tuple(messages), tools=self.tools, **self.options.model_dump())

    @property
    def open_calls(self) -> tuple[str, ...]:
        """The ids of the tool calls that have no result yet."""
        answered = {turn.tool_call_id for turn in self.turns}
        ids = [call.id for turn in self.turns for call in turn.tool_calls if call.id is not None]
        return tuple(call_id for call_id in ids if call_id not in answered)

    def ask(self) -> Ask:
        """The next answer's prompt. The oldest turns are forgotten until it fits; ``ChatError`` if the last does not.

        A turn is a message of the user and all that follows it.
        """
        before, dropped = list(self.turns), 0
        while True:
            prompt = self.chat.prompt(self.conversation)
            if self.context is None:
                return Ask(prompt, self.max_tokens or UNKNOWN_CONTEXT_TOKENS)
            room = self.context - len(prompt)
            if room >= self._least():
                return Ask(prompt, self.max_tokens or min(room, MOST_TOKENS), dropped)
            if not self._forget_oldest():
                self.turns = before
                what = f"the last turn takes {len(prompt)} tokens, and an answer shall have {self._least()}"
                raise ChatError(f"{what}, but the context is {self.context}", hint="Say less, or lower --max-tokens")
            dropped += 1

    def accept(self, deltas: Sequence[ChatDelta]) -> Message | None:
        """Remember an answer; where it says nothing to go on from, forget the question, too, and return None."""
        message = to_message(deltas, sum(len(turn.tool_calls) for turn in self.turns))
        if not message.content and not message.tool_calls:
            self.retract()
            return None
        self.turns.append(message)
        return message

    def retract(self) -> None:
        """Forget what was not answered: the messages since the assistant's last, or since those that were loaded."""
        while self.turns and self.turns[-1].role != "assistant" and self.turns[-1] is not self._last_loaded:
            self.turns.pop()

    def _least(self) -> int:
        """How many tokens an answer must have room for."""
        assert self.context is not None
        return self.max_tokens or min(UNKNOWN_CONTEXT_TOKENS, self.context // 2)

    def _forget_oldest(self) -> bool:
        starts = [place for place, turn in enumerate(self.turns) if turn.role == "user" and place > 0]
        if not starts:
            return False
        del self.turns[: starts[0]]
        return True
