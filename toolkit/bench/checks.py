"""What must hold for a trial's numbers to count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolkit.bench.grid import Point
from toolkit.bench.request import RequestRecord

Status = Literal["ok", "failed", "invalid", "timeout", "stalled", "oom", "interrupted"]


class Check(BaseModel):
    """One condition that a trial's numbers depend on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    passed: bool
    detail: str


WARNINGS = frozenset({"cpu_is_ours"})
"""Conditions that are said, but do not make a trial invalid: a shared machine is slower, not wrong."""


def check_trial(point: Point, requests: Sequence[RequestRecord], *, fixed: bool = True) -> tuple[Check, ...]:
    """Request count, errors, the order of times, and prompt and output lengths where the point's are ``fixed``."""
    lengths = (
        _check(f"isl_{point.isl}", (request.prompt_tokens == point.isl for request in requests)),
        _check(f"osl_{point.osl}", (request.output_tokens == point.osl for request in requests)),
    )
    return (
        _check("no_errors", (request.status == "ok" for request in requests)),
        Check(
            name="request_count",
            passed=sorted(request.id for request in requests) == list(range(point.requests)),
            detail=f"{len(requests)} requests, {point.requests} planned",
        ),
        *(lengths if fixed else ()),
        _check("times_in_order", (_in_order(request) for request in requests)),
    )


def status_of(error: str | None, checks: Iterable[Check]) -> Status:
    """``failed`` for an error, ``invalid`` for a check that does not hold."""
    if error is not None:
        return "failed"
    return "ok" if all(check.passed or check.name in WARNINGS for check in checks) else "invalid"


def _check(name: str, holds: Iterable[bool]) -> Check:
    results = list(holds)
    return Check(name=name, passed=all(results), detail=f"{sum(results)} of {len(results)} requests")


def _in_order(request: RequestRecord) -> bool:
    times = (request.start_ns, *request.token_ns, request.end_ns)
    return request.latency_ns > 0 and all(earlier <= later for earlier, later in pairwise(times))
