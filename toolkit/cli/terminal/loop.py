"""The loop of ``trtkit chat``: read a line, do what it says, show what comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from toolkit.chat.deltas import ChatDelta
from toolkit.chat.messages import Effort, Message
from toolkit.chat.parse import read_conversation
from toolkit.chat.session import Ask, Session
from toolkit.checkpoint.files import write_atomic
from toolkit.cli.terminal.answer import Answer
from toolkit.cli.terminal.commands import HELP, Command, parse_line, read_message
from toolkit.cli.terminal.screen import Screen
from toolkit.errors import ChatError, TrtkitError

Generate = Callable[[Ask, Answer], None]
"""Has an answer listen to what is generated; raises ``TrtkitError``, and ``KeyboardInterrupt`` when it was stopped."""


class Loop:
    """``run`` ends with the input. A mistake, a failed answer and Ctrl-C end one turn, not the program."""

    def __init__(self, session: Session, generate: Generate, screen: Screen, read: Callable[[str], str]) -> None:
        self._session = session
        self._generate = generate
        self._screen = screen
        self._read = read
        self._answers = self._tokens = 0
        self._seconds = 0.0

    def run(self) -> None:
        while True:
            try:
                line = read_message(self._read)
                if line.strip() and not self._do(parse_line(line)):
                    return
            except EOFError:
                return
            except KeyboardInterrupt:
                self._screen.note("(Ctrl-D or /quit ends)")
            except (TrtkitError, OSError) as error:
                self._screen.error(str(error))

    def answer(self) -> Answer | None:
        """Answer what was said last and remember it; None when it was stopped. Raises ``TrtkitError``."""
        asked = self._ask()
        answer = Answer(self._session.chat.parser(asked.prompt), self._screen.show)
        stopped = False
        try:
            self._generate(asked, answer)
        except KeyboardInterrupt:
            stopped = True
        except TrtkitError:
            self._session.retract()
            raise
        self._remember(answer.deltas)
        self._screen.note(answer.describe())
        self._answers += 1
        self._tokens += answer.output_tokens
        self._seconds += answer.total_s
        return None if stopped else answer

    def _ask(self) -> Ask:
        try:
            asked = self._session.ask()
        except TrtkitError:
            self._session.retract()
            raise
        if asked.dropped:
            self._screen.note(forgotten(asked.dropped, self._session.context))
        return asked

    def _remember(self, deltas: list[ChatDelta]) -> None:
        message = self._session.accept(deltas)
        if message is None:
            self._screen.note("no answer; the question is forgotten")
        elif message.tool_calls:
            self._screen.calls(message.tool_calls)

    def _do(self, typed: Command | str) -> bool:
        """False ends the program."""
        if isinstance(typed, str):
            self._session.turns.append(Message(role="user", content=typed))
            self.answer()
            return True
        if typed.name == "quit":
            return False
        getattr(self, f"_{typed.name}")(typed.argument)
        return True

    def _reset(self, argument: str) -> None:
        self._session.turns.clear()
        self._screen.note("the conversation is forgotten")

    def _system(self, argument: str) -> None:
        self._session.system = argument
        self._screen.note("the instructions are set" if argument else "there are no instructions")

    def _effort(self, argument: str) -> None:
        if argument not in get_args(Effort):
            raise ChatError(f"the effort {argument!r} is none", hint=f"Type: /effort {'|'.join(get_args(Effort))}")
        if "reasoning_effort" not in self._session.chat.options:
            raise ChatError("this model's chat template takes no reasoning effort")
        self._session.options = self._session.options.model_copy(update={"reasoning_effort": argument})
        self._screen.note(f"the reasoning effort is {argument}")

    def _result(self, argument: str) -> None:
        open_calls = self._session.open_calls
        if not open_calls:
            raise ChatError("no tool call waits for a result")
        self._session.turns.append(Message(role="tool", content=argument, tool_call_id=open_calls[0]))
        if len(open_calls) == 1:
            self.answer()
        else:
            self._screen.note(f"{len(open_calls) - 1} more to go: {', '.join(open_calls[1:])}")

    def _save(self, argument: str) -> None:
        text = json.dumps(self._session.conversation.to_dict(), indent=2, ensure_ascii=False)
        path = Path(argument).expanduser()
        write_atomic(path, f"{text}\n".encode())
        self._screen.note(f"saved to {path}")

    def _load(self, argument: str) -> None:
        path = Path(argument).expanduser()
        self._session.load(read_conversation(path))
        self._screen.note(f"{len(self._session.turns)} messages from {path}")

    def _stats(self, argument: str) -> None:
        turns, tokens = len(self._session.turns), self._tokens
        self._screen.note(f"{turns} messages; {self._answers} answers, {tokens} tokens in {self._seconds:.1f} s")

    def _help(self, argument: str) -> None:
        self._screen.note(HELP)


def forgotten(turns: int, context: int | None) -> str:
    said = "turn is" if turns == 1 else f"{turns} turns are"
    return f"the oldest {said} forgotten: the context of {context} tokens is full"
