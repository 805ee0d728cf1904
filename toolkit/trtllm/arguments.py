"""``LLM(...)`` arguments of a release: which keys and words it takes, checked against ``data/llm_args.yaml``."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.errors import PlanError
from toolkit.trtllm.catalog import Catalog, Key, Words, load_catalog
from toolkit.trtllm.near import nearest
from toolkit.trtllm.span import order

LISTED = 8


def check_llm_args(release: str, args: Mapping[str, Any], where: str = "engine.llm_args") -> tuple[str, ...]:
    """Raise PlanError for the first key or word that ``release`` is known not to take; the hint names the right one.

    Returns one line for each argument that is taken and still doubtful (deprecated, or not confirmed by the source).
    Values are judged only where they are one of a few words, and the CUDA graph sizes against each other.
    A key whose first release is not known passes for all.
    """
    order(release)
    check = _Check(release, where, load_catalog())
    notes = check.section("", args)
    check.graph_sizes(args.get("cuda_graph_config"))
    return tuple(notes)


class _Check:
    def __init__(self, release: str, where: str, catalog: Catalog) -> None:
        self.release, self.where, self.catalog = release, where, catalog

    def section(self, prefix: str, args: Mapping[str, Any]) -> list[str]:
        notes: list[str] = []
        for name, value in args.items():
            path = f"{prefix}{name}" if isinstance(name, str) else None
            key = self.catalog.keys.get(path) if path is not None else None
            if path is None or key is None:
                raise self._unknown(prefix, name)
            self._span(key)
            notes += [f"{self.where}.{path} {note}" for note in self.catalog.notes.get(path, ())]
            notes += self._value(key, value)
        return notes

    def graph_sizes(self, graphs: object) -> None:
        """``max_batch_size`` beside ``batch_sizes`` must be the largest of them (CudaGraphConfig in every text)."""
        if not isinstance(graphs, Mapping):
            return
        sizes, largest = graphs.get("batch_sizes"), graphs.get("max_batch_size")
        numbers = [size for size in sizes if isinstance(size, int)] if isinstance(sizes, list | tuple) else []
        if numbers and isinstance(largest, int) and largest not in (0, max(numbers)):
            what = f"cuda_graph_config.max_batch_size {largest} is not the largest of batch_sizes, {max(numbers)}"
            raise self._error("cuda_graph_config", what, "Leave one of the two out")

    def _value(self, key: Key, value: Any) -> list[str]:
        inner = isinstance(value, Mapping)
        if key.section and inner:
            return [] if key.open else self.section(f"{key.path}.", value)
        if key.section and not key.open and value is not None:
            what = f"{key.path} holds keys, not {_short(value)}"
            raise self._error(key.path, what, self._known(f"{key.path}."))
        if inner and not key.open:
            raise self._error(key.path, f"{key.path} takes one value, not keys", f"Write {key.path}: <value>")
        if key.path in self.catalog.values and value is not None:
            for word in value if isinstance(value, list | tuple) else [value]:
                self._word(key.path, word, self.catalog.values[key.path])
        return []

    def _names(self, prefix: str) -> list[str]:
        return [path.removeprefix(prefix) for path in self.catalog.siblings(prefix, self.release)]

    def _known(self, prefix: str) -> str:
        names = self._names(prefix)
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        return f"Known here: {', '.join(names[:LISTED])}{more}"

    def _word(self, path: str, word: Any, words: Words) -> None:
        allowed = words.of(self.release)
        if isinstance(word, str) and word in allowed:
            return
        close = nearest(word, allowed) if isinstance(word, str) else None
        hint = f"Did you mean {close}? It takes" if close else "It takes"
        what = f"TensorRT-LLM {self.release} does not take {_short(word)} for {path}"
        raise self._error(path, what, f"{hint} {', '.join(allowed)} ({words.source})")

    def _span(self, key: Key) -> None:
        if key.span.too_early(self.release):
            what = f"TensorRT-LLM {self.release} does not have the LLM argument {key.path} yet"
            hint = f"Leave it out, or take release {key.span.added} or later ({key.source})"
            raise self._error(key.path, what, hint)
        if key.span.too_late(self.release):
            what = f"TensorRT-LLM {self.release} no longer has the LLM argument {key.path}"
            raise self._error(key.path, what, f"{key.instead} ({key.source})")

    def _unknown(self, prefix: str, name: object) -> PlanError:
        path = f"{prefix}{name}" if isinstance(name, str) and name.isidentifier() else f"{prefix}{_short(name)}"
        what = f"TensorRT-LLM {self.release} has no LLM argument {path}"
        renamed = self.catalog.renamed.get(path)
        if renamed is not None:
            key = self.catalog.keys[renamed.new]
            hint = key.instead if key.span.too_late(self.release) else f"Write {renamed.new}"
            return self._error(path, what, f"{hint} ({renamed.source})")
        return self._error(path, what, self._guess(prefix, str(name)))

    def _guess(self, prefix: str, name: str) -> str:
        elsewhere = self.catalog.elsewhere(name, self.release)
        if elsewhere is not None:
            return f"Write {elsewhere}"
        close = nearest(name, self._names(prefix))
        return f"Did you mean {prefix}{close}?" if close is not None else self._known(prefix)

    def _error(self, path: str, what: str, hint: str) -> PlanError:
        return PlanError(what, where=f"{self.where}.{path}", hint=hint)


def _short(value: object) -> str:
    """A value as a line shows it: cut, and without a line break."""
    if isinstance(value, str | bytes | int | float | Sequence | Mapping) or value is None:
        return reprlib.repr(value)
    return f"a {type(value).__name__}"
