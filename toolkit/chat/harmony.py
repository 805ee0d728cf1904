"""gpt-oss's Harmony format through openai-harmony: a conversation → the token ids of its prompt.

Of earlier turns, what the model thought is left out: analysis before the last answer is dropped, that since the last
answer (around tool calls) is kept. Source: openai/harmony docs/format.md, "Handling reasoning output in subsequent
sampling"; the library itself (v0.0.8) keeps what was thought between two answers.

openai-harmony takes text as text: ``<|end|>`` in a message does not end it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.chat import vocabulary
from toolkit.chat.deltas import FUNCTIONS
from toolkit.chat.harmony_parser import HarmonyParser
from toolkit.chat.messages import Conversation, Message, Options, Tool, called_name
from toolkit.errors import ChatError, MissingExtraError

if TYPE_CHECKING:
    import openai_harmony

JSON_CALL = "<|constrain|>json"


class HarmonyChat:
    """Prompts and parsers of gpt-oss. ``stop_token_ids`` are ``<|return|>`` and ``<|call|>``."""

    name = "harmony"
    options = frozenset(("tools", *Options.model_fields))

    def __init__(self, encoding: openai_harmony.HarmonyEncoding) -> None:
        self._encoding = encoding
        self.stop_token_ids = tuple(sorted(encoding.stop_tokens_for_assistant_actions()))

    @classmethod
    def open(cls, tokenizer: Mapping[str, Any], where: str) -> HarmonyChat:
        """``tokenizer`` is a parsed tokenizer.json of gpt-oss. Raises ``MissingExtraError`` or ``ChatError``."""
        try:
            from openai_harmony import HarmonyEncodingName, HarmonyError, load_harmony_encoding
        except ImportError:
            raise MissingExtraError("openai-harmony", "chat") from None
        try:
            with vocabulary.provided(tokenizer, where) as folder, _base(folder):
                return cls(load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS))
        except HarmonyError as error:
            raise ChatError(f"Harmony's vocabulary cannot be loaded: {error}", hint=vocabulary.GET) from None

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """Token ids up to ``<|start|>assistant``; raises ``ChatError`` for a conversation that the library refuses."""
        from openai_harmony import Conversation as HarmonyConversation
        from openai_harmony import HarmonyError, Role

        conversation.check_asks()
        try:
            whole = HarmonyConversation.from_messages(list(_rendered(conversation)))
            return tuple(self._encoding.render_conversation_for_completion(whole, Role.ASSISTANT))
        except (HarmonyError, ValueError) as error:
            raise ChatError(f"Harmony cannot render the conversation: {error}") from None

    def parser(self, prompt: Sequence[int] = ()) -> HarmonyParser:
        return HarmonyParser(self._encoding)


@contextmanager
def _base(folder: Path) -> Iterator[None]:
    """openai-harmony reads the folder from the process's environment alone."""
    before = os.environ.get(vocabulary.BASE_VARIABLE)
    os.environ[vocabulary.BASE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[vocabulary.BASE_VARIABLE]
        else:
            os.environ[vocabulary.BASE_VARIABLE] = before


def _rendered(conversation: Conversation) -> Iterator[openai_harmony.Message]:
    from openai_harmony import Message as HarmonyMessage
    from openai_harmony import Role

    yield HarmonyMessage.from_role_and_content(Role.SYSTEM, _system(conversation))
    if conversation.instructions or conversation.tools:
        yield HarmonyMessage.from_role_and_content(Role.DEVELOPER, _developer(conversation))
    turns = conversation.turns
    answered = max((place for place, message in enumerate(turns) if _is_answer(message)), default=-1)
    for place, message in enumerate(turns):
        yield from _message(message, turns, conversation.tools, keeps_analysis=place > answered)


def _is_answer(message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls


def _system(conversation: Conversation) -> openai_harmony.SystemContent:
    from openai_harmony import ReasoningEffort, SystemContent

    content = SystemContent.new()
    if conversation.reasoning_effort is not None:
        content = content.with_reasoning_effort(ReasoningEffort[conversation.reasoning_effort.upper()])
    if conversation.knowledge_cutoff is not None:
        content = content.with_knowledge_cutoff(conversation.knowledge_cutoff)
    if conversation.current_date is not None:
        content = content.with_conversation_start_date(conversation.current_date)
    return content


def _developer(conversation: Conversation) -> openai_harmony.DeveloperContent:
    from openai_harmony import DeveloperContent, ToolDescription

    content = DeveloperContent.new()
    if conversation.instructions:
        content = content.with_instructions(conversation.instructions)
    functions = [tool.function for tool in conversation.tools]
    if not functions:
        return content
    described = [ToolDescription.new(one.name, one.description, one.parameters) for one in functions]
    return content.with_function_tools(described)


def _message(
    message: Message, turns: tuple[Message, ...], tools: tuple[Tool, ...], *, keeps_analysis: bool
) -> Iterator[openai_harmony.Message]:
    from openai_harmony import Author, Role
    from openai_harmony import Message as HarmonyMessage

    if message.role == "user":
        yield HarmonyMessage.from_role_and_content(Role.USER, message.content)
    elif message.role == "tool":
        author = Author.new(Role.TOOL, _recipient(called_name(turns, message), tools))
        answer = HarmonyMessage.from_author_and_content(author, message.content)
        yield answer.with_recipient("assistant").with_channel("commentary")
    else:
        said = HarmonyMessage.from_role_and_content
        if message.reasoning_content and keeps_analysis:
            yield said(Role.ASSISTANT, message.reasoning_content).with_channel("analysis")
        if message.content or not message.tool_calls:
            channel = "commentary" if message.tool_calls else "final"
            yield said(Role.ASSISTANT, message.content).with_channel(channel)
        for call in message.tool_calls:
            made = said(Role.ASSISTANT, call.function.arguments).with_channel("commentary")
            yield made.with_recipient(_recipient(call.function.name, tools)).with_content_type(JSON_CALL)


def _recipient(name: str, tools: tuple[Tool, ...]) -> str:
    """Functions have a namespace; the built-in tools, such as browser.search, come with theirs."""
    is_function = "." not in name or any(tool.function.name == name for tool in tools)
    return FUNCTIONS + name if is_function else name
