"""Chat by a Jinja template: the text that it renders → token ids; the answer's text, with what it thought apart.

A special token written in a message is one: the template's text is tokenised as a whole, as transformers does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from toolkit.chat.deltas import Channel, ChatDelta
from toolkit.chat.messages import Conversation, Message
from toolkit.chat.templates import Template, special_tokens
from toolkit.engine.text import TextStream, Tokenizer
from toolkit.errors import ChatError

THINK = ("<think>", "</think>")


class TemplateChat:
    """Prompts by the template ``default``, or ``tool_use`` where tools are given and there is one."""

    name = "chat template"

    def __init__(self, folder: Path, templates: Mapping[str, str], where: str | None = None) -> None:
        """``folder`` has the tokenizer; ``where`` names the templates in errors, by default as ``folder``.

        Raises ``ChatError`` and ``CheckpointError``.
        """
        self._where = where or str(folder)
        self._tokenizer = Tokenizer.open(folder)
        self._special = special_tokens(folder)
        self._templates = {name: Template(source, self._where) for name, source in templates.items()}
        named = {name for template in self._templates.values() for name in template.variables}
        self.options = frozenset(named & {"tools", "reasoning_effort", "knowledge_cutoff"}) | {"current_date"}
        eos = self._single(self._special.get("eos_token", ""))
        self.stop_token_ids: tuple[int, ...] = () if eos is None else (eos,)
        think = tuple(self._single(marker) for marker in THINK)
        self._think = None if think[0] is None or think[1] is None else (think[0], think[1])

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """Token ids up to the answer; raises ``ChatError`` where the template refuses or has no place for an option."""
        conversation.check_asks()
        template = self._choose(with_tools=bool(conversation.tools))
        options = _options(conversation)
        for name in options:
            if name not in template.variables:
                raise ChatError(f"this chat template takes no {name}", where=self._where)
        variables = {
            "messages": [_to_template(message) for message in conversation.messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
            **self._special,
            **options,
        }
        day = conversation.current_date
        text = template.render(variables, datetime.fromisoformat(day) if day and len(day) == 10 else None)
        return tuple(self._tokenizer.encode(text))

    def parser(self, prompt: Sequence[int] = ()) -> TextParser:
        """``prompt`` says whether the template has the answer begin with a thought."""
        marks = [token for token in prompt if self._think and token in self._think]
        thinking = bool(self._think and marks and marks[-1] == self._think[0])
        return TextParser(self._tokenizer, self._think, thinking=thinking)

    def _choose(self, *, with_tools: bool) -> Template:
        wanted = ("tool_use", "default") if with_tools else ("default",)
        found = next((self._templates[name] for name in wanted if name in self._templates), None)
        if found is None:
            listed = ", ".join(self._templates)
            raise ChatError(f"no chat template is called default, only {listed}", where=self._where)
        return found

    def _single(self, token: str) -> int | None:
        ids = self._tokenizer.encode(token) if token else []
        return ids[0] if len(ids) == 1 else None


class TextParser:
    """A ``ChatParser``: everything is ``final`` but what stands between ``<think>`` and ``</think>`` tokens."""

    def __init__(self, tokenizer: Tokenizer, think: tuple[int, int] | None, *, thinking: bool) -> None:
        self._tokenizer = tokenizer
        self._think = think
        self._channel: Channel = "analysis" if thinking else "final"
        self._index = 0
        self._stream = TextStream(tokenizer)

    def push(self, token_ids: Sequence[int]) -> list[ChatDelta]:
        deltas: list[ChatDelta] = []
        plain: list[int] = []
        for token in token_ids:
            if self._think is None or token not in self._think:
                plain.append(token)
                continue
            deltas += self._delta(self._stream.push(plain)) + self.finish()
            plain = []
            self._channel = "analysis" if token == self._think[0] else "final"
            self._index += 1
        return deltas + self._delta(self._stream.push(plain))

    def finish(self) -> list[ChatDelta]:
        return self._delta(self._stream.finish())

    def _delta(self, text: str) -> list[ChatDelta]:
        return [ChatDelta(self._channel, text, self._index)] if text else []


def _options(conversation: Conversation) -> dict[str, Any]:
    given = {
        "tools": [tool.model_dump(exclude_unset=True) for tool in conversation.tools],
        "reasoning_effort": conversation.reasoning_effort,
        "knowledge_cutoff": conversation.knowledge_cutoff,
    }
    return {name: value for name, value in given.items() if value}


def _to_template(message: Message) -> dict[str, Any]:
    """As the message's JSON, but arguments of calls as the objects that templates expect."""
    value = message.to_dict()
    for call in value.get("tool_calls", ()):
        try:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        except (ValueError, RecursionError):
            continue
    return value
