"""The loader of ``data/llm_args.yaml``: every LLM argument read in a text of TensorRT-LLM, with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Self

from pydantic import model_validator

from toolkit.trtllm.facts import Record, read
from toolkit.trtllm.span import Span, order


class Group(Span):
    """Keys of one origin. A key has its section in front: ``kv_cache_config.dtype``."""

    source: str
    instead: str | None = None
    keys: tuple[str, ...]

    @model_validator(mode="after")
    def _says_what_instead(self) -> Self:
        if (self.removed is None) != (self.instead is None):
            raise ValueError("a removed key needs `instead`, and only a removed key has it")
        return self


class Renamed(Record):
    """``old`` is wrong in every release; ``new`` is what it is called."""

    old: str
    new: str
    source: str


class Words(Record):
    """The few words that an argument takes; ``added`` and ``removed`` name the release of single words."""

    source: str
    allowed: tuple[str, ...]
    added: Mapping[str, str] = {}
    removed: Mapping[str, str] = {}

    def of(self, release: str) -> tuple[str, ...]:
        spans = {word: Span(added=self.added.get(word), removed=self.removed.get(word)) for word in self.allowed}
        return tuple(word for word in self.allowed if spans[word].covers(release))

    @model_validator(mode="after")
    def _known_words(self) -> Self:
        strange = (set(self.added) | set(self.removed)) - set(self.allowed)
        if strange:
            raise ValueError(f"not among the words: {sorted(strange)}")
        for bound in (*self.added.values(), *self.removed.values()):
            order(bound)
        return self


class Note(Record):
    key: str
    text: str


class File(Record):
    """``data/llm_args.yaml`` as written."""

    checked: str
    texts: Mapping[str, str]
    groups: tuple[Group, ...]
    open: tuple[str, ...]
    renamed: tuple[Renamed, ...]
    values: Mapping[str, Words]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """One argument. A ``section`` holds keys; those of an ``open`` one are not checked."""

    path: str
    span: Span
    source: str
    instead: str | None
    section: bool
    open: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    checked: str
    keys: Mapping[str, Key]
    renamed: Mapping[str, Renamed]
    values: Mapping[str, Words]
    notes: Mapping[str, tuple[str, ...]]

    def siblings(self, prefix: str, release: str) -> tuple[str, ...]:
        """The paths one level below ``prefix`` (``""`` or ``section.``) that ``release`` has, as far as is known."""
        depth = prefix.count(".")
        inside = (key for key in self.keys.values() if key.path.startswith(prefix) and key.path.count(".") == depth)
        return tuple(key.path for key in inside if key.span.covers(release))

    def elsewhere(self, name: str, release: str) -> str | None:
        """The path in another section whose last part is ``name``: at the top level, else the only one."""
        found = [key.path for key in self.keys.values() if key.path.rpartition(".")[2] == name]
        here = [path for path in found if self.keys[path].span.covers(release)]
        return name if name in here else here[0] if len(here) == 1 else None


@cache
def load_catalog() -> Catalog:
    return build_catalog(File.model_validate(read("llm_args")))


def build_catalog(file: File) -> Catalog:
    """The file as look-ups; raises ValueError where it contradicts itself."""
    listed = [(path, group) for group in file.groups for path in group.keys]
    paths = [path for path, _ in listed]
    parents = {path.rpartition(".")[0] for path in paths} - {""}
    used = {
        *parents,
        *file.open,
        *file.values,
        *(entry.new for entry in file.renamed),
        *(note.key for note in file.notes),
    }
    strange = (used - set(paths)) | ({entry.old for entry in file.renamed} & set(paths))
    if strange or len(set(paths)) != len(paths):
        raise ValueError(f"named and not listed, or listed twice: {sorted(strange)}")
    keys = {
        path: Key(path, group, group.source, group.instead, path in parents or path in file.open, path in file.open)
        for path, group in listed
    }
    notes = {note.key: tuple(other.text for other in file.notes if other.key == note.key) for note in file.notes}
    return Catalog(file.checked, keys, {entry.old: entry for entry in file.renamed}, file.values, notes)
