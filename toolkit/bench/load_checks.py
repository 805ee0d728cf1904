"""What must hold for the requests of a load: as many tokens as were asked for, and sent when they were due."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.bench.checks import Check
from toolkit.bench.metrics import NS_PER_MS, percentiles
from toolkit.bench.request import RequestRecord
from toolkit.bench.workload.draw import RequestSpec

LATE_MS = 5.0
"""asyncio's timers are up to 1 ms late by themselves."""
LATE_SHARE = 0.05


def check_lengths(specs: Sequence[RequestSpec], requests: Sequence[RequestRecord]) -> tuple[Check, Check]:
    """Prompt and output tokens of every request are exactly those of its spec."""
    asked = {spec.id: (len(spec.prompt_ids), spec.output_tokens) for spec in specs}
    got = {request.id: (request.prompt_tokens, request.output_tokens) for request in requests}
    return (_alike("input_lengths", asked, got, 0), _alike("output_lengths", asked, got, 1))


def check_on_time(requests: Sequence[RequestRecord]) -> Check:
    """The generator itself was not what the requests waited for.

    Its 99th percentile of lateness is at most 5 ms, or 5 % of the median time to first token where that is more.
    Passes for a closed loop, where nothing is due.
    """
    late = percentiles(request.late_ns / NS_PER_MS for request in requests)
    first = percentiles(request.ttft_ns / NS_PER_MS for request in requests if request.ttft_ns is not None)
    late_ms = 0.0 if late is None else late.p99
    limit_ms = max(LATE_MS, LATE_SHARE * first.p50) if first is not None else LATE_MS
    detail = f"p99 {late_ms:.3g} ms after they were due, at most {limit_ms:.3g} ms"
    return Check(name="sent_on_time", passed=late_ms <= limit_ms, detail=detail)


def _alike(name: str, asked: dict[int, tuple[int, int]], got: dict[int, tuple[int, int]], place: int) -> Check:
    wrong = [number for number in got if number not in asked or got[number][place] != asked[number][place]]
    detail = f"{len(got) - len(wrong)} of {len(got)} requests"
    if wrong and (first := min(wrong)) in asked:
        detail += f"; request {first}: {got[first][place]} tokens, {asked[first][place]} asked for"
    return Check(name=name, passed=not wrong, detail=detail)
