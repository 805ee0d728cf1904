"""Conversations with a model on token ids: prompts, and the channels of its answers as they stream.

``open_chat(folder)`` gives the format that the tokenizer there asks for: gpt-oss's Harmony through openai-harmony, or
the chat template that the model came with. Nothing here knows a server or an engine.
"""

from __future__ import annotations

from toolkit.chat.deltas import ChatDelta, ChatParser, to_message
from toolkit.chat.messages import Conversation, Message, Options, Tool, ToolCall
from toolkit.chat.open import Chat, open_chat
from toolkit.chat.parse import conversation_from, parse_conversation, read_conversation, read_tools

__all__ = [
    "Chat",
    "ChatDelta",
    "ChatParser",
    "Conversation",
    "Message",
    "Options",
    "Tool",
    "ToolCall",
    "conversation_from",
    "open_chat",
    "parse_conversation",
    "read_conversation",
    "read_tools",
    "to_message",
]
