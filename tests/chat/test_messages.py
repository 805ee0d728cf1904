from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.chat import Conversation, Message, conversation_from
from toolkit.chat.messages import called_name
from toolkit.errors import ChatError

USER = {"role": "user", "content": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKS = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning": "hm"}
ANSWER = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
TOOL = {"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}}}


def nested(depth: int) -> dict[str, Any]:
    return {"properties": nested(depth - 1)} if depth else {}


def made(*messages: dict[str, Any], **others: Any) -> Conversation:
    return conversation_from({"messages": list(messages), **others}, "c.json")


def test_a_whole_conversation_is_written_as_it_was_read() -> None:
    system, developer = {"role": "system", "content": "a"}, {"role": "developer", "content": "b"}
    others = {"tools": [TOOL], "reasoning_effort": "low", "knowledge_cutoff": "2024-06", "current_date": "2026-11-24"}
    found = made(system, developer, USER, ASKS, ANSWER, **others)
    assert found.instructions == "a\n\nb"
    assert [message.role for message in found.turns] == ["user", "assistant", "tool"]
    assert called_name(found.turns, found.turns[-1]) == "f"
    asks = {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [CALL]}
    assert found.to_dict() == {"messages": [system, developer, USER, asks, ANSWER], **others}
    assert conversation_from(found.to_dict(), "again") == found


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert made({"role": "user", "content": parts}).messages == (Message(role="user", content="ab"),)


@pytest.mark.parametrize(
    ("messages", "others", "said"),
    [
        ([], {}, "messages: is empty"),
        ([{"role": "user", "contents": "x"}], {}, "messages[0]: no content"),
        ([{**USER, "contents": "x"}], {}, "unknown key messages[0].contents"),
        ([{"content": "x"}], {}, "missing key messages[0].role"),
        (
            [USER, {"role": "boss", "content": ""}],
            {},
            "messages[1].role: input should be 'system', 'developer', 'user', 'assistant' or 'tool', not 'boss'",
        ),
        ([{"role": "user", "content": 3}], {}, "messages[0].content: input should be a valid string, not 3"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            {},
            "messages[0].content: content has a part of type 'image_url', and only text is supported",
        ),
        ([{**USER, "tool_calls": [CALL]}], {}, "messages[0]: tool_calls belongs to the role assistant, not to user"),
        (
            [USER, {"role": "tool", "content": "1"}],
            {},
            "messages[1]: neither tool_call_id nor name says which call this answers",
        ),
        ([USER, ASKS, {**ANSWER, "tool_call_id": "x"}], {}, "messages[2]: no call has the id 'x'"),
        (
            [USER, {"role": "system", "content": "late"}],
            {},
            "messages[1]: system comes before every other role",
        ),
        ([USER], {"tools": [{"type": "function"}]}, "missing key tools[0].function"),
        (
            [USER],
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name: string should match pattern '^[A-Za-z0-9_.\\-]{1,64}$', not 'a b'",
        ),
        (
            [USER],
            {"reasoning_effort": "most"},
            "reasoning_effort: input should be 'low', 'medium' or 'high', not 'most'",
        ),
        ([USER], {"tools": {}}, "tools: is no list"),
        (
            [USER],
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": nested(70)}}]},
            "tools[0].function.parameters: nested deeper than 64",
        ),
        ([USER], {"temperature": 1}, "unknown key temperature"),
    ],
)
def test_mistakes_are_one_line(messages: list[dict[str, Any]], others: dict[str, Any], said: str) -> None:
    with pytest.raises(ChatError) as error:
        made(*messages, **others)
    assert str(error.value) == f"c.json: {said}"


KEYS = st.sampled_from(["role", "content", "tool_calls", "function", "name", "arguments", "type", "text", "id", "x"])
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.sampled_from(["user", "tool"])
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def read(value: dict[str, Any]) -> Conversation | str:
    """The conversation, or what is said against it."""
    try:
        return conversation_from(value, "x")
    except ChatError as error:
        return str(error)


@settings(max_examples=60)
@given(value=st.dictionaries(st.sampled_from(["messages", "tools", "current_date"]), VALUES, max_size=3))
def test_any_json_is_a_conversation_or_one_line(value: dict[str, Any]) -> None:
    found = read(value)
    if isinstance(found, str):
        assert found.isprintable()
        assert len(found) < 300
    else:
        assert read(found.to_dict()) == found


def test_only_a_message_of_the_user_or_of_a_tool_is_answered() -> None:
    made(USER, ASKS, ANSWER).check_asks()
    with pytest.raises(ChatError, match="the last message is of the role assistant"):
        made(USER, ASKS).check_asks()
