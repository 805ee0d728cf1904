from __future__ import annotations

from collections.abc import Sequence

import pytest

from toolkit.chat import ChatDelta, ChatParser, Conversation, Message, conversation_from
from toolkit.chat.session import Ask, Session
from toolkit.errors import ChatError


class Words:
    """A token a word of the messages."""

    name = "words"
    stop_token_ids = (0,)
    options = frozenset({"reasoning_effort"})

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        conversation.check_asks()
        return tuple(range(sum(len(message.content.split()) for message in conversation.messages)))

    def parser(self, prompt: Sequence[int] = ()) -> ChatParser:
        raise NotImplementedError


def user(text: str) -> Message:
    return Message(role="user", content=text)


def said(text: str) -> list[ChatDelta]:
    return [ChatDelta("final", text)]


CALL = [ChatDelta("analysis", "Use f."), ChatDelta("commentary", "{}", 1, "functions.f")]


def test_a_conversation_grows() -> None:
    session = Session(Words(), system="be brief")
    session.turns.append(user("one two"))
    assert session.ask() == Ask((0, 1, 2, 3), 1024)
    assert session.accept(said("three")) == Message(role="assistant", content="three")
    assert [message.content for message in session.conversation.messages] == ["be brief", "one two", "three"]


def test_an_answer_that_says_nothing_takes_its_question_along() -> None:
    session = Session(Words(), turns=[user("a"), Message(role="assistant", content="b"), user("c")])
    assert session.accept([ChatDelta("analysis", "Hm")]) is None
    assert [turn.content for turn in session.turns] == ["a", "b"]


def test_calls_wait_for_their_results() -> None:
    session = Session(Words(), turns=[user("a")])
    session.accept([*CALL, ChatDelta("commentary", "{}", 2, "functions.g")])
    assert session.open_calls == ("call_1", "call_2")
    session.turns.append(Message(role="tool", tool_call_id="call_1", content="1"))
    assert session.open_calls == ("call_2",)
    session.turns.append(Message(role="tool", tool_call_id="call_2", content="1"))
    session.accept(CALL)
    assert session.open_calls == ("call_3",)
    assert session.conversation.turns[-1].reasoning_content == "Use f."


@pytest.mark.parametrize(
    ("context", "max_tokens", "asked", "kept"),
    [
        (100, None, Ask(tuple(range(11)), 89), 5),
        (100, 7, Ask(tuple(range(11)), 7), 5),
        (9000, None, Ask(tuple(range(11)), 4096), 5),
        (17, 7, Ask(tuple(range(7)), 7, dropped=1), 3),
        (14, None, Ask(tuple(range(7)), 7, dropped=1), 3),
        (10, None, Ask(tuple(range(3)), 7, dropped=2), 1),
    ],
)
def test_the_oldest_turns_are_forgotten(context: int, max_tokens: int | None, asked: Ask, kept: int) -> None:
    turns = [
        user("a b"),
        *(Message(role="assistant", content="c d"), user("e f"), Message(role="assistant", content="g h")),
    ]
    session = Session(Words(), context, max_tokens, system="s", turns=[*turns, user("i j")])
    assert session.ask() == asked
    assert len(session.turns) == kept
    assert session.system == "s"


def test_a_turn_that_does_not_fit_forgets_nothing() -> None:
    session = Session(Words(), 10, turns=[user("a"), Message(role="assistant", content="b"), user("x " * 6)])
    what = "the last turn takes 6 tokens, and an answer shall have 5, but the context is 10. Say less"
    with pytest.raises(ChatError, match=what):
        session.ask()
    assert len(session.turns) == 3


def test_loading() -> None:
    session = Session(Words())
    with pytest.raises(ChatError, match="nothing was said yet"):
        _ = session.conversation
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u"},
    ]
    tool = {"type": "function", "function": {"name": "f"}}
    loaded = conversation_from({"messages": messages, "tools": [tool], "reasoning_effort": "low"}, "test")
    session.load(loaded)
    assert (session.system, session.developer, session.turns) == ("s", "d", [user("u")])
    assert session.conversation == loaded
    session.load(conversation_from({"messages": messages[2:]}, "test"))
    assert (session.system, session.conversation.tools, session.options.reasoning_effort) == ("", loaded.tools, "low")


@pytest.mark.parametrize("loaded", [[], ["a"], ["a", "b"]])
def test_a_failed_answer_leaves_what_was_loaded(loaded: list[str]) -> None:
    session = Session(Words(), turns=[user("before")])
    messages = [{"role": "system", "content": "s"}, *({"role": "user", "content": text} for text in loaded)]
    session.load(conversation_from({"messages": messages}, "test"))
    session.turns.append(user("c"))
    session.retract()
    assert [turn.content for turn in session.turns] == loaded
    session.turns += [user("c"), Message(role="assistant", content="d"), user("e")]
    session.retract()
    assert [turn.content for turn in session.turns] == [*loaded, "c", "d"]


def test_after_a_reset_nothing_counts_as_loaded() -> None:
    session = Session(Words())
    session.load(conversation_from({"messages": [{"role": "user", "content": "a"}]}, "test"))
    session.turns.clear()
    session.turns.append(user("b"))
    session.retract()
    assert session.turns == []
