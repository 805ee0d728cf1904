"""Traces: one JSON object a line, as ``trtllm-bench`` reads them, and when each request arrived.

``prompt`` or ``input_ids`` (token ids) · ``output_tokens`` · ``arrival_s`` (seconds from the beginning, in order, on
every line or on none) · ``task_id`` (not looked at). ``trtllm-bench`` reads every line as JSON, so a blank one is an
error here as it is there (tensorrt_llm/bench/utils/data.py @a6ad8019).
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolkit.bench.workload.draw import RequestSpec
from toolkit.errors import RecipeError

BOM = b"\xef\xbb\xbf"
_TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    task_id: int | str | None = None
    prompt: Annotated[str, Field(min_length=1)] | None = None
    input_ids: Annotated[tuple[_TokenId, ...], Field(min_length=1)] | None = None
    output_tokens: Annotated[int, Field(ge=1)]
    arrival_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def read_trace(path: Path, encode: Callable[[str], Sequence[int]], max_seq_len: int) -> tuple[RequestSpec, ...]:
    """The requests of the file at ``path``; ``encode`` makes token ids of a text.

    Raises ``RecipeError`` that names file and line for the first that is no request, that comes before its predecessor,
    or whose prompt and output together exceed ``max_seq_len`` tokens.
    """
    specs: list[RequestSpec] = []
    for number, raw in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        spec = _request(_parsed(raw, where), len(specs), encode, where)
        if (tokens := len(spec.prompt_ids) + spec.output_tokens) > max_seq_len:
            what = f"the request needs {tokens} tokens (prompt + output), engine.max_seq_len is {max_seq_len}"
            raise RecipeError(what, where=where)
        if specs:
            _check_order(specs[-1], spec, where)
        specs.append(spec)
    if not specs:
        raise RecipeError("the trace is empty", where=str(path), hint="Check bench.workload.trace")
    return tuple(specs)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        what = f"cannot read the trace: {error.strerror}"
        raise RecipeError(what, where=str(path), hint="Check bench.workload.trace") from None


def _parsed(raw: bytes, where: str) -> _Line:
    if raw.startswith(BOM):
        raise RecipeError("a byte order mark stands before the JSON", where=where, hint="Save it as UTF-8 without BOM")
    if not raw.strip():
        raise RecipeError("the line is blank", where=where, hint="Remove it")
    try:
        line = _Line.model_validate_json(raw)
    except ValidationError as error:
        raise _explained(error, where) from None
    if (line.prompt is None) == (line.input_ids is None):
        what = "has no prompt" if line.prompt is None else "has prompt and input_ids"
        raise RecipeError(what, where=where, hint="Give prompt or input_ids")
    return line


def _request(line: _Line, number: int, encode: Callable[[str], Sequence[int]], where: str) -> RequestSpec:
    ids = line.input_ids if line.prompt is None else tuple(encode(line.prompt))
    if not ids:
        raise RecipeError("the prompt has no token", where=where)
    return RequestSpec(number, ids, line.output_tokens, line.arrival_s)


def _check_order(last: RequestSpec, spec: RequestSpec, where: str) -> None:
    if (last.arrival_s is None) != (spec.arrival_s is None):
        said = "the line before has one" if spec.arrival_s is None else "the line before has none"
        raise RecipeError(f"arrival_s: {said}", where=where, hint="Give every line an arrival_s, or none")
    if last.arrival_s is not None and spec.arrival_s is not None and spec.arrival_s < last.arrival_s:
        what = f"arrival_s {spec.arrival_s:g} comes after {last.arrival_s:g}"
        raise RecipeError(what, where=where, hint="Sort the lines by arrival_s")


def _explained(error: ValidationError, where: str) -> RecipeError:
    # what is unknown was probably meant to be something known, so it is said first
    first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    if first["type"] == "json_invalid":
        return RecipeError(f"not JSON: {first['ctx']['error']}", where=where)
    if not first["loc"]:
        return RecipeError("not a JSON object", where=where)
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, _Line.model_fields, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(_Line.model_fields)}"
        return RecipeError(f"unknown field {reprlib.repr(name)}", where=where, hint=hint)
    if first["type"] == "missing":
        return RecipeError(f"{name} is missing", where=where)
    said = first["msg"][0].lower() + first["msg"][1:]
    return RecipeError(f"{name}: {said}, not {reprlib.repr(first['input'])}", where=where)
