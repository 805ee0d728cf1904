"""The loader of ``data/flags.yaml``: tools, their subcommands and flags, each with its source and releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, Self

from pydantic import model_validator

from toolkit.trtllm.catalog import Words
from toolkit.trtllm.facts import Record, read
from toolkit.trtllm.span import Span, order

Takes = Literal["nothing", "value", "two", "many"]
Default = str | int | float | bool | None


class FlagGroup(Span):
    """Flags of one origin: names with spaces between them, and the default."""

    source: str
    takes: Takes = "value"
    instead: str | None = None
    flags: Mapping[str, Default]


class Deprecated(Record):
    since: str
    text: str

    @model_validator(mode="after")
    def _a_release(self) -> Self:
        order(self.since)
        return self


@dataclass(frozen=True, slots=True)
class Flag:
    """One option under all its names; ``instead`` is what to do in a release without it."""

    names: tuple[str, ...]
    takes: Takes
    default: Default
    span: Span
    instead: str | None
    source: str


class Command(Span):
    """A tool or subcommand. ``default`` is the subcommand meant where none is written; ``open`` is not checked."""

    style: Literal["click", "argparse"] = "click"
    instead: str | None = None
    open: bool = False
    positional: int = 0
    default: str | None = None
    groups: tuple[FlagGroup, ...] = ()
    commands: Mapping[str, Command] = {}
    values: Mapping[str, Words] = {}
    means: Mapping[str, str] = {}
    deprecated: Mapping[str, Deprecated] = {}

    def flags(self) -> Iterator[Flag]:
        for group in self.groups:
            for names, default in group.flags.items():
                yield Flag(tuple(names.split()), group.takes, default, group, group.instead, group.source)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [name for flag in self.flags() for name in flag.names]
        strange = (set(self.values) | set(self.deprecated)) - set(names) | set(self.means) & set(names)
        if strange or len(set(names)) != len(names):
            raise ValueError(f"named and not a flag, or listed twice: {sorted(strange)}")
        if self.default is not None and self.default not in self.commands:
            raise ValueError(f"the default {self.default!r} is no subcommand")
        return self


class File(Record):
    """``data/flags.yaml`` as written."""

    checked: str
    tools: Mapping[str, Command]


@cache
def load_flags() -> File:
    return File.model_validate(read("flags"))
