"""The file of ``--request_json``: what ``trtllm-bench`` keeps of each request.

It has the times of a request's start, first token and end, not those of the tokens between, so these are no
``toolkit.bench.request.RequestRecord``; what both have has the same name, unit and definition, with one difference: the
clock of these starts after the request was admitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from toolkit.errors import RecordError

HINT = "Give the file of trtllm-bench's --request_json"


class BenchRequest(BaseModel):
    """Times are nanoseconds from the first request's start. ``first_token_ns`` is None without ``--streaming``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: int
    prompt_tokens: int
    output_tokens: int
    start_ns: int
    first_token_ns: int | None
    end_ns: int
    decode_iterations: int | None
    status: Literal["ok", "error"]

    @property
    def latency_ns(self) -> int:
        return self.end_ns - self.start_ns

    @property
    def ttft_ns(self) -> int | None:
        """Time to first token, without the wait for admission."""
        return None if self.first_token_ns is None else self.first_token_ns - self.start_ns

    @property
    def tpot_ns(self) -> float | None:
        """(end − first) / (OSL − 1); None for fewer than two tokens."""
        if self.first_token_ns is None or self.output_tokens < 2:
            return None
        return (self.end_ns - self.first_token_ns) / (self.output_tokens - 1)


def parse_requests(data: str | bytes) -> tuple[BenchRequest, ...]:
    """The requests in the file's order.

    Raises ``RecordError`` for anything but a list of such records; the fault is named with its place in the list.
    """
    try:
        records = json.loads(data)
    except (ValueError, RecursionError):
        raise RecordError("it is not JSON, or it is cut", hint=HINT) from None
    if not isinstance(records, list):
        raise RecordError("it is not a list of requests", hint=HINT)
    read = [_read(record, place) for place, record in enumerate(records)]
    zero = min((request.start_ns for request in read), default=0)
    return tuple(_shifted(request, zero) for request in read)


def _read(record: object, place: int) -> BenchRequest:
    if not isinstance(record, dict):
        raise RecordError(f"request {place} is no object", hint=HINT)
    start, end = _integer(record, "start_timestamp", place), _integer(record, "end_timestamp", place)
    first = record.get("first_token_timestamp")
    # -1 where nothing set it; a time outside of the request is none of its tokens'
    has_first = isinstance(first, int) and start <= first <= end
    if end < start:
        raise RecordError(f"request {place} ends before it starts", hint=HINT)
    return BenchRequest(
        id=_integer(record, "id", place),
        prompt_tokens=_integer(record, "num_input_tokens", place),
        output_tokens=_output_tokens(record, place),
        start_ns=start,
        first_token_ns=first if has_first else None,
        end_ns=end,
        decode_iterations=record["decode_iteration"] if _is_integer(record.get("decode_iteration")) else None,
        status="error" if record.get("error_tokens") else "ok",
    )


def _output_tokens(record: Mapping[str, Any], place: int) -> int:
    """Under its name of 1.0 on, of before, or as the length of the decoded output's tokens."""
    names = ("num_total_output_tokens", "num_output_tokens", "output_tokens")
    name = next((name for name in names if _is_integer(record.get(name))), names[0])
    return _integer(record, name, place)


def _integer(record: Mapping[str, Any], name: str, place: int) -> int:
    value = record.get(name)
    if not _is_integer(value):
        raise RecordError(f"request {place} has no whole number {name}", hint=HINT)
    return int(value)  # type: ignore[arg-type]  # _is_integer


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shifted(request: BenchRequest, zero: int) -> BenchRequest:
    first = None if request.first_token_ns is None else request.first_token_ns - zero
    times = {"start_ns": request.start_ns - zero, "first_token_ns": first, "end_ns": request.end_ns - zero}
    return request.model_copy(update=times)
