from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.cli.terminal.test_commands import typed
from toolkit.chat import ChatDelta, ChatParser, Conversation, Message
from toolkit.chat.session import Ask, Session
from toolkit.cli.terminal.answer import Answer
from toolkit.cli.terminal.loop import Loop
from toolkit.cli.terminal.once import answer_once
from toolkit.cli.terminal.screen import Screen
from toolkit.errors import ClientError

Shown = tuple[str, list[str]]
FINAL = [ChatDelta("analysis", "Hm.", 1), ChatDelta("final", "Four.", 2)]
CALL = [ChatDelta("commentary", '{"a": 1}', 1, "functions.f")]


class Chatty:
    """Answers are scripted; a prompt is a token a message."""

    name = "scripted"
    stop_token_ids = ()
    options = frozenset({"reasoning_effort"})

    def __init__(self) -> None:
        self.asked: list[Conversation] = []

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        self.asked.append(conversation)
        return tuple(range(len(conversation.messages)))

    def parser(self, prompt: Sequence[int] = ()) -> ChatParser:
        return Silent()


class Silent:
    def push(self, token_ids: Sequence[int]) -> list[ChatDelta]:
        return []

    def finish(self) -> list[ChatDelta]:
        return []


class Talk:
    """A loop whose answers are ``script``: deltas, or what is raised after them."""

    def __init__(self, *script: list[ChatDelta] | BaseException, context: int | None = None) -> None:
        self._script = iter(script)
        self.chat = Chatty()
        self.session = Session(self.chat, context, None if context is None else 1)

    def generate(self, asked: Ask, answer: Answer) -> None:
        said = next(self._script)
        if isinstance(said, BaseException):
            answer._said([ChatDelta("final", "Fo", 1)] if isinstance(said, KeyboardInterrupt) else [])
            raise said
        answer._said(said)
        answer.output_tokens, answer.finish_reason, answer.total_s = len(said), "stop", 1.5

    def run(self, *lines: str) -> None:
        Loop(self.session, self.generate, Screen(show_analysis=True), typed(*lines)).run()


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[[], Shown]:
    def read() -> Shown:
        out, err = capsys.readouterr()
        return out, err.splitlines()

    return read


def test_a_question_and_its_answer(shown: Callable[[], Shown]) -> None:
    talk = Talk(FINAL, FINAL)
    talk.run("", "2 + 2?", "/stats", "again", "/quit", "never read")
    assert shown() == (
        "Four.\nFour.\n",
        [
            "Hm.",
            "2 tokens · stop",
            "2 messages; 1 answers, 2 tokens in 1.5 s",
            "Hm.",
            "2 tokens · stop",
        ],
    )
    answer = Message(role="assistant", content="Four.", reasoning_content="Hm.")
    question, again = Message(role="user", content="2 + 2?"), Message(role="user", content="again")
    assert talk.session.turns == [question, answer, again, answer]


def test_a_failed_answer_takes_its_question_along(shown: Callable[[], Shown]) -> None:
    talk = Talk(ClientError("nothing serves there", where="127.0.0.1:1"), FINAL)
    talk.run("lost", "kept")
    assert shown() == ("Four.\n", ["error: 127.0.0.1:1: nothing serves there", "Hm.", "2 tokens · stop"])
    assert [turn.content for turn in talk.session.turns] == ["kept", "Four."]


def test_a_stopped_answer_is_kept_as_far_as_it_came(shown: Callable[[], Shown]) -> None:
    talk = Talk(KeyboardInterrupt(), FINAL)
    talk.run("stop me", "go on")
    assert shown() == ("Fo\nFour.\n", ["0 tokens · stopped", "Hm.", "2 tokens · stop"])
    assert [turn.content for turn in talk.session.turns] == ["stop me", "Fo", "go on", "Four."]


def test_ctrl_c_at_the_prompt_ends_nothing(shown: Callable[[], Shown]) -> None:
    talk = Talk(FINAL)
    lines = iter([KeyboardInterrupt(), "hi", EOFError()])

    def read(prompt: str) -> str:
        line = next(lines)
        if isinstance(line, BaseException):
            raise line
        return str(line)

    Loop(talk.session, talk.generate, Screen(show_analysis=False), read).run()
    assert shown() == ("Four.\n", ["(Ctrl-D or /quit ends)", "2 tokens · stop"])


def test_an_empty_answer(shown: Callable[[], Shown]) -> None:
    talk = Talk([ChatDelta("analysis", "Hm.", 1)])
    talk.run("hi")
    assert shown()[1] == ["Hm.", "no answer; the question is forgotten", "1 token · stop"]
    assert talk.session.turns == []


def test_calls_and_results(shown: Callable[[], Shown]) -> None:
    talk = Talk([*CALL, ChatDelta("commentary", "{}", 2, "functions.g")], FINAL)
    talk.run("/result 1", "call", "/result one", "/result two")
    assert shown() == (
        '{"tool": "f", "id": "call_1", "arguments": {"a": 1}}\n{"tool": "g", "id": "call_2", "arguments": {}}\nFour.\n',
        ["error: no tool call waits for a result", "2 tokens · stop", "1 more to go: call_2", "Hm.", "2 tokens · stop"],
    )
    results = [(turn.tool_call_id, turn.content) for turn in talk.session.turns if turn.role == "tool"]
    assert results == [("call_1", "one"), ("call_2", "two")]


def test_instructions_and_effort(shown: Callable[[], Shown]) -> None:
    talk = Talk(FINAL, FINAL)
    talk.run("/system Be brief.", "/effort most", "/effort high", "hi", "/system", "/reset", "hi")
    assert [line for line in shown()[1] if "instr" in line or "effort" in line] == [
        "the instructions are set",
        "error: the effort 'most' is none. Type: /effort low|medium|high",
        "the reasoning effort is high",
        "there are no instructions",
    ]
    first, second = talk.chat.asked
    assert (first.instructions, first.reasoning_effort, len(first.turns)) == ("Be brief.", "high", 1)
    assert (second.instructions, second.reasoning_effort, len(second.turns)) == ("", "high", 1)


def test_an_effort_that_the_template_does_not_take(shown: Callable[[], Shown]) -> None:
    talk = Talk()
    talk.chat.options = frozenset()
    talk.run("/effort low")
    assert shown()[1] == ["error: this model's chat template takes no reasoning effort"]


def test_the_context_is_full(shown: Callable[[], Shown]) -> None:
    talk = Talk(FINAL, FINAL, FINAL, context=4)
    talk.run("one", "two", "three")
    assert [line for line in shown()[1] if "context" in line] == [
        "the oldest turn is forgotten: the context of 4 tokens is full"
    ]
    assert len(talk.session.turns) == 4


def test_saving_and_loading(shown: Callable[[], Shown], tmp_path: Path) -> None:
    path, talk = tmp_path / "c.json", Talk(FINAL, FINAL)
    talk.run(f"/save {path}", "hi", f"/save {path}", f"/save {tmp_path}/no/c.json", "/load nowhere.json")
    assert json.loads(path.read_text()) == {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Four.", "reasoning_content": "Hm."},
        ]
    }
    errors = [line for line in shown()[1] if line.startswith("error")]
    assert errors[0] == "error: nothing was said yet"
    assert "No such file or directory" in errors[1]
    assert errors[2].startswith("error: nowhere.json: cannot be read (No such file or directory)")
    other = Talk(FINAL)
    other.run(f"/load {path}", "/help", "more")
    assert [turn.content for turn in other.session.turns] == ["hi", "Four.", "more", "Four."]


def test_once(shown: Callable[[], Shown]) -> None:
    talk = Talk(FINAL, CALL, context=3)
    talk.session.turns = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    talk.session.turns.append(Message(role="user", content="c"))
    document = answer_once(talk.session, talk.generate, Screen(show_analysis=False), as_json=False)
    assert shown() == ("Four.\n", ["the oldest turn is forgotten: the context of 3 tokens is full"])
    message = {"role": "assistant", "content": "Four.", "reasoning_content": "Hm."}
    times = {"prompt_tokens": None, "ttft_s": None, "total_s": 1.5}
    assert document == {"message": message, "finish_reason": "stop", "output_tokens": 2, **times}
    document = answer_once(talk.session, talk.generate, Screen(show_analysis=False), as_json=True)
    assert shown() == ("", [])
    assert document["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
