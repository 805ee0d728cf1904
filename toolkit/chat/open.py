"""``open_chat``: how the model behind a tokenizer is talked to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from toolkit.chat import vocabulary
from toolkit.chat.deltas import ChatParser
from toolkit.chat.harmony import HarmonyChat
from toolkit.chat.messages import Conversation
from toolkit.chat.parse import read_file
from toolkit.chat.template_chat import TemplateChat
from toolkit.chat.templates import find_templates, template_text
from toolkit.checkpoint.source import TOKENIZER
from toolkit.errors import ChatError, CheckpointError


class Chat(Protocol):
    """Conversations → token ids, and token ids → what the model said.

    ``stop_token_ids`` end an answer; ``options`` are the fields of a conversation beside its messages that it can say.
    """

    name: str
    stop_token_ids: tuple[int, ...]
    options: frozenset[str]

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids that ask for the next message of the assistant; raises ``ChatError``."""
        ...

    def parser(self, prompt: Sequence[int] = ()) -> ChatParser:
        """One parser for one answer, to this prompt."""
        ...


def open_chat(folder: Path, template: Path | None = None) -> Chat:
    """The chat format of the tokenizer in ``folder``: Harmony for gpt-oss, else its chat template.

    ``template`` is a Jinja file to use instead. Raises ``ChatError`` where there is neither, ``CheckpointError`` for a
    folder without a readable tokenizer, and ``MissingExtraError``.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise CheckpointError(f"no {TOKENIZER}", where=str(folder), hint="Name a folder that has one")
    if template is not None:
        return TemplateChat(folder, {"default": template_text(read_file(template), template)}, str(template))
    tokenizer = vocabulary.read_tokenizer(path)
    if vocabulary.is_harmony(tokenizer):
        return HarmonyChat.open(tokenizer, str(path))
    templates = find_templates(folder)
    if not templates:
        hint = "Give one with --chat-template FILE, or type trtkit generate to continue a text"
        raise ChatError("this tokenizer has no chat template", where=str(folder), hint=hint)
    return TemplateChat(folder, templates)
