"""Prompts by chat templates against transformers' ``apply_chat_template`` on the same folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chat.templates import BLOCKS, CONVERSATIONS, HEADERS, write_tokenizer
from toolkit.chat import conversation_from, open_chat

transformers = pytest.importorskip("transformers")
pytest.importorskip("jinja2")

pytestmark = pytest.mark.oracle

NAMED = [{"name": "default", "template": BLOCKS}, {"name": "tool_use", "template": HEADERS}]


def with_objects(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As transformers wants them: arguments of calls as objects."""
    copied: list[dict[str, Any]] = json.loads(json.dumps(messages))
    for message in copied:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return copied


@pytest.mark.parametrize("template", [HEADERS, BLOCKS, NAMED], ids=["headers", "blocks", "named"])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=["question", "system", "tools"])
def test_the_same_ids(tmp_path: Path, template: Any, conversation: dict[str, Any]) -> None:
    folder = write_tokenizer(tmp_path, template)
    theirs = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(
        with_objects(conversation["messages"]), tools=conversation.get("tools"), add_generation_prompt=True
    )
    assert list(open_chat(folder).prompt(conversation_from(conversation, "test"))) == theirs
