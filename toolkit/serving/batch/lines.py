"""A batch's input: one JSON object a line, checked to the last before the first is sent. No model is needed.

A line has ``prompt`` (text), ``input_ids`` or ``messages`` (with ``tools`` and ``reasoning_effort``), and may have an
``id``, every field of ``SamplingParams``, ``stop`` and ``skip_special_tokens``; null stands for the default.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.engine.runtime.sampling import RANGES
from toolkit.errors import BatchError
from toolkit.serving import wire

SAMPLING = tuple(one.name for one in fields(SamplingParams))
PROMPTS = ("prompt", "input_ids", "messages")
BESIDE_MESSAGES = ("tools", "reasoning_effort")
_LARGEST_ID = 2**31 - 1


def _line_model() -> type[BaseModel]:
    hints = get_type_hints(SamplingParams)
    optional: dict[str, Any] = {
        "id": str | int,
        "prompt": str,
        "input_ids": tuple[int, ...],
        "messages": list[dict[str, Any]],
        "tools": list[dict[str, Any]],
        "reasoning_effort": str,
        "stop": str | tuple[str, ...],
        "skip_special_tokens": bool,
        **{name: hints[name] for name in SAMPLING},
    }
    values: dict[str, Any] = {name: (kind | None, None) for name, kind in optional.items()}
    return create_model("Line", __config__=ConfigDict(strict=True, extra="forbid"), **values)


_MODEL = _line_model()


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a line that does not say otherwise."""

    sampling: SamplingParams = field(default_factory=SamplingParams)
    stop: tuple[str, ...] = ()
    skip_special_tokens: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """One request. ``number`` counts the lines of the file from 1; ``id`` is the number where the line has none.

    ``conversed`` is a prompt that was made from messages.
    """

    number: int
    id: str | int
    prompt: str | tuple[int, ...]
    sampling: SamplingParams
    stop: tuple[str, ...] = ()
    skip_special_tokens: bool = True
    conversed: bool = False


class Conversing(Protocol):
    """Messages ⟷ token ids, by the model's own chat format."""

    def prompt(self, conversation: Mapping[str, Any], where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids to go on from, and those that end an answer. Raises ``TrtkitError`` that names ``where``."""
        ...

    def message(self, prompt: tuple[int, ...], answer: tuple[int, ...]) -> dict[str, Any]:
        """The assistant's message in the token ids of an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Scan:
    """What is known of a checked file. ``uses`` has, by key of ``toolkit.serving.tensors``, the first line's place."""

    requests: int
    last_line: int
    sha256: str
    uses: Mapping[str, str]


def scan_lines(path: Path, defaults: Defaults, conversing: Conversing | None = None) -> Scan:
    """Check every line, holding one at a time and 8 bytes of each id.

    Raises ``BatchError`` that names file and line for the first that is no request, and for an id that came before;
    and for a pipe, which gives its lines only once.
    """
    if path.exists() and not path.is_file():
        what = "is a folder" if path.is_dir() else "is no regular file, and a batch reads its input twice"
        raise BatchError(what, where=str(path), hint="Name a file of JSON lines")
    digest = hashlib.sha256()
    seen: set[bytes] = set()
    uses: dict[str, str] = {}
    number = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            digest.update(raw)
            if (line := parse_line(raw, path, number, defaults, conversing)) is None:
                continue
            key = hashlib.blake2b(str(line.id).encode(), digest_size=8).digest()
            if key in seen:
                raise BatchError(f"id {reprlib.repr(line.id)} came before", where=f"{path}:{number}")
            seen.add(key)
            for used in wire.asked(line.prompt, line.sampling, line.stop, line.skip_special_tokens):
                uses.setdefault(used, f"{path}:{number}")
    if not seen:
        raise BatchError("holds no request", where=str(path), hint='One looks like this: {"prompt": "The file"}')
    return Scan(len(seen), number, digest.hexdigest(), uses)


def read_lines(
    path: Path, scan: Scan, defaults: Defaults, conversing: Conversing | None, done: Callable[[int], bool]
) -> Iterator[Line]:
    """The requests of a scanned file that are not ``done`` by their line's number."""
    with path.open("rb") as file:
        for number, raw in enumerate(islice(file, scan.last_line), 1):
            if not done(number) and (line := parse_line(raw, path, number, defaults, conversing)) is not None:
                yield line


def parse_line(
    raw: bytes, path: Path, number: int, defaults: Defaults, conversing: Conversing | None = None
) -> Line | None:
    """The request on a line; None for a blank one. Raises ``BatchError`` that names file and line.

    The first line may begin with a byte order mark, as editors on Windows write it.
    """
    if number == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    if not raw.strip():
        return None
    where = f"{path}:{number}"
    try:
        given = _MODEL.model_validate_json(raw).model_dump(exclude_none=True)
    except ValidationError as error:
        raise _explained(error, where) from None
    prompts = [name for name in PROMPTS if name in given]
    if len(prompts) != 1:
        what = f"has {' and '.join(prompts)}" if prompts else "has no prompt"
        raise BatchError(what, where=where, hint=f"Give one of {', '.join(PROMPTS)}")
    sampling = replace(defaults.sampling, **{name: given[name] for name in SAMPLING if name in given})
    _check(sampling, where)
    stop = given.get("stop", defaults.stop)
    line = Line(
        number=number,
        id=given.get("id", number),
        prompt=given.get("prompt", given.get("input_ids", ())),
        sampling=sampling,
        stop=(stop,) if isinstance(stop, str) else stop,
        skip_special_tokens=given.get("skip_special_tokens", defaults.skip_special_tokens),
    )
    if "" in line.stop:
        raise BatchError("stop has an empty string", where=where)
    if "messages" in given:
        return _conversed(line, given, where, conversing)
    if alone := [name for name in BESIDE_MESSAGES if name in given]:
        raise BatchError(f"{alone[0]} goes with messages", where=where)
    return _prompted(line, where)


def _prompted(line: Line, where: str) -> Line:
    if not line.prompt:
        raise BatchError("the prompt is empty", where=where)
    if isinstance(line.prompt, tuple):
        for token in line.prompt:
            if not 0 <= token <= _LARGEST_ID:
                raise BatchError(f"input_ids has {token}, which is no token id", where=where)
    return line


def _conversed(line: Line, given: Mapping[str, Any], where: str, conversing: Conversing | None) -> Line:
    """A conversation's answer ends at the tokens of its format, and is parsed by its special tokens."""
    if conversing is None:
        raise BatchError("messages need the model's tokenizer", where=where, hint="Add: --tokenizer DIR")
    if "skip_special_tokens" in given:
        raise BatchError("skip_special_tokens does not go with messages", where=where)
    conversation = {name: given[name] for name in ("messages", *BESIDE_MESSAGES) if name in given}
    prompt, ends = conversing.prompt(conversation, where)
    stop_token_ids = tuple(dict.fromkeys((*line.sampling.stop_token_ids, *ends)))
    sampling = replace(line.sampling, stop_token_ids=stop_token_ids)
    return replace(line, prompt=prompt, sampling=sampling, skip_special_tokens=False, conversed=True)


def _check(sampling: SamplingParams, where: str) -> None:
    for name, allowed in RANGES.items():
        value = getattr(sampling, name)
        if value is not None and value not in allowed:
            raise BatchError(f"{name} is {reprlib.repr(value)}, but must be {allowed}", where=where)
    if sampling.min_tokens > sampling.max_tokens:
        what = f"min_tokens is {sampling.min_tokens}, but must be at most max_tokens, {sampling.max_tokens}"
        raise BatchError(what, where=where)


def _explained(error: ValidationError, where: str) -> BatchError:
    # what is unknown was probably meant to be something known, so it is said first
    first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        near = difflib.get_close_matches(name, _MODEL.model_fields, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(_MODEL.model_fields)}"
        return BatchError(f"unknown field {reprlib.repr(name)}", where=where, hint=hint)
    if first["type"] == "json_invalid":
        return BatchError(f"not JSON: {first['ctx']['error']}", where=where)
    if not first["loc"]:
        return BatchError("not a JSON object", where=where)
    said = first["msg"][0].lower() + first["msg"][1:]
    return BatchError(f"{first['loc'][0]}: {said}, not {reprlib.repr(first['input'])}", where=where)
