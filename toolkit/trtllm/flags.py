"""Command lines of trtllm-serve, trtllm-bench and trtllm-build, checked against the flags of a release."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from toolkit.errors import PlanError
from toolkit.trtllm.flag_table import Command, Flag, load_flags
from toolkit.trtllm.near import nearest
from toolkit.trtllm.span import order

Tool = Literal["trtllm-serve", "trtllm-bench", "trtllm-build"]


def check_flags(tool: Tool, release: str, argv: Sequence[str]) -> tuple[str, ...]:
    """Raise PlanError for the first word that ``tool`` of ``release`` is known to refuse; the hint names the right one.

    ``argv`` may start with the tool's own name. Values are judged only where they are one of a few words.
    Returns one line for each flag that is taken and deprecated.
    """
    order(release)
    tools = load_flags().tools
    if tool not in tools:
        raise PlanError(f"unknown tool {tool!r}", where="command line", hint=f"Known: {', '.join(tools)}")
    words = deque(argv)
    if words and words[0] == tool:
        words.popleft()
    return tuple(_Line(release, tool, tools[tool], words).notes())


class _Line:
    """What is left of a command line, at one command; a subcommand reads on from there."""

    def __init__(self, release: str, path: str, command: Command, words: deque[str], above: tuple[Command, ...] = ()):
        self.release, self.path, self.command, self.words, self.above = release, path, command, words, above
        self.flags = {name: flag for flag in command.flags() for name in flag.names}
        self.positional = command.positional
        self.taken: list[str] = []

    def notes(self) -> list[str]:
        self._exists()
        while self.words and not self.command.open:
            word = self.words.popleft()
            if word == "--":
                self.positional -= len(self.words)
                self.words.clear()
            elif word.startswith("-") and word != "-" and self.command.default is None:
                self._flag(word)
            elif self.command.commands:
                return [*self.taken, *self._subcommand(word)]
            else:
                self.positional -= 1
            if self.positional < 0:
                raise self._error(word, f"{self.path} takes {_count(self.command.positional)}", self._help())
        return self.taken

    def _exists(self) -> None:
        span, hint = self.command, self.command.instead or self._help()
        if span.too_early(self.release):
            what = f"TensorRT-LLM {self.release} does not have {self.path} yet (added in {span.added})"
            raise PlanError(what, where=self.path, hint=hint)
        if span.too_late(self.release):
            what = f"TensorRT-LLM {self.release} no longer has {self.path} (removed in {span.removed})"
            raise PlanError(what, where=self.path, hint=hint)

    def _subcommand(self, word: str) -> list[str]:
        commands = self.command.commands
        if word not in commands and self.command.default is not None:
            self.words.appendleft(word)
            return self._into(self.path, commands[self.command.default])
        if word not in commands:
            known = [name for name, command in commands.items() if command.covers(self.release)]
            close = nearest(word, known)
            hint = f"Did you mean {close}?" if close else f"Known: {', '.join(known)}"
            raise self._error(word, f"{self.path} has no subcommand {_shown(word)}", hint)
        return self._into(f"{self.path} {word}", commands[word])

    def _into(self, path: str, command: Command) -> list[str]:
        return _Line(self.release, path, command, self.words, (*self.above, self.command)).notes()

    def _flag(self, word: str) -> None:
        name, equals, value = word.partition("=")
        if name in {"--help", "-h"}:
            return
        flag = self.flags.get(name) or self._abbreviated(name)
        if flag is None:
            raise self._unknown(name)
        self._span(name, flag)
        if name in self.command.deprecated and not order(self.release) < order(self.command.deprecated[name].since):
            self.taken.append(f"{self.path} {name} {self.command.deprecated[name].text}")
        for given in self._values(name, flag, value if equals else None):
            self._word(name, flag, given)

    def _abbreviated(self, name: str) -> Flag | None:
        if self.command.style != "argparse" or not name.startswith("--"):
            return None
        found = {id(flag): flag for full, flag in self.flags.items() if full.startswith(name)}
        names = [full for full in self.flags if full.startswith(name)]
        return next(iter(found.values())) if len(names) == 1 else None

    def _values(self, name: str, flag: Flag, attached: str | None) -> list[str]:
        if flag.takes == "nothing":
            if attached is not None:
                raise self._error(name, f"{name} of {self.path} takes no value", f"Write {name} alone")
            return []
        given = [] if attached is None else [attached]
        wanted = {"value": 1, "two": 2, "many": len(given) + len(self.words)}[flag.takes]
        while self.words and len(given) < wanted and not (flag.takes == "many" and self.words[0].startswith("-")):
            given.append(self.words.popleft())
        if not given or (flag.takes != "many" and len(given) < wanted):
            raise self._error(name, f"{name} of {self.path} needs a value", f"Write {name} VALUE")
        return given

    def _word(self, name: str, flag: Flag, value: str) -> None:
        rule = next((self.command.values[other] for other in flag.names if other in self.command.values), None)
        allowed = rule.of(self.release) if rule is not None else ()
        if rule is None or value in allowed:
            return
        close = nearest(value, allowed)
        hint = f"Did you mean {close}? It takes" if close else "It takes"
        what = f"{self.path} of TensorRT-LLM {self.release} does not take {_shown(value)} for {name}"
        raise self._error(name, what, f"{hint} {', '.join(allowed)} ({rule.source})")

    def _span(self, name: str, flag: Flag) -> None:
        if flag.span.too_early(self.release):
            what = f"{self.path} of TensorRT-LLM {self.release} does not have {name} yet"
            hint = flag.instead or f"Leave it out, or take release {flag.span.added} or later"
            raise self._error(name, what, f"{hint} ({flag.source})")
        if flag.span.too_late(self.release):
            what = f"{self.path} of TensorRT-LLM {self.release} no longer has {name}"
            raise self._error(name, what, f"{flag.instead} ({flag.source})")

    def _unknown(self, name: str) -> PlanError:
        what = f"{self.path} of TensorRT-LLM {self.release} has no flag {_shown(name)}"
        if name in self.command.means:
            meant = self.command.means[name]
            return self._error(name, what, f"Write {meant}" if meant.startswith("--") else meant)
        for above in self.above:
            if name in {other for flag in above.flags() for other in flag.names}:
                return self._error(name, what, "Write it before the subcommand")
        below = [
            sub
            for sub, command in self.command.commands.items()
            if name in {other for flag in command.flags() for other in flag.names}
        ]
        if below:
            return self._error(name, what, f"Write it after the subcommand ({', '.join(below)})")
        close = nearest(name, self._names())
        return self._error(name, what, f"Did you mean {close}?" if close else self._help())

    def _names(self) -> list[str]:
        return [name for name, flag in self.flags.items() if flag.span.covers(self.release)]

    def _help(self) -> str:
        return f"Type: {self.path} --help"

    def _error(self, word: str, what: str, hint: str) -> PlanError:
        return PlanError(what, where=f"{self.path} {_shown(word) if not word.isprintable() else word}", hint=hint)


def _shown(word: str) -> str:
    return repr(word) if len(word) <= 60 else f"{word[:57]!r}..."


def _count(positional: int) -> str:
    return "no argument without a flag" if positional == 0 else f"{positional} argument without a flag"
