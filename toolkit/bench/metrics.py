"""Metrics of one trial from its request records: pure functions, units in the names.

Definitions and names are those of trtllm-bench's report JSON where it has the metric, with one difference: the clock
of a request starts before it is sent, so waiting for a slot counts. The window runs from the first start to the last
end, ramp-up and drain included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from toolkit.bench.request import RequestRecord
from toolkit.errors import RecordError

NS_PER_MS = 1e6
NS_PER_S = 1e9


class Percentiles(BaseModel):
    """Nearest rank without interpolation: p of n values is ``sorted(values)[int(n * p)]``, as trtllm-bench does it.

    For fewer than 100 values p99 is therefore the maximum.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    p50: float
    p90: float
    p95: float
    p99: float
    minimum: float
    maximum: float
    average: float


class Metrics(BaseModel):
    """``ms`` milliseconds, ``tok_s`` tokens a second, ``req_s`` requests a second.

    ``output_throughput_per_user_tok_s`` is the mean over requests of OSL / E2E, prefill included;
    ``token_output_speed_tok_s`` the mean over requests of 1 / TPOT, prefill excluded. ``avg_concurrent_requests`` is
    Σ E2E / window (Little's law). TPOT, ITL and output speed are None when every output is one token, output speed also
    when a whole output came in one message; what a report does not say is None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_requests: int
    avg_input_length_tok: float
    avg_output_length_tok: float
    avg_concurrent_requests: float
    total_latency_ms: float
    avg_request_latency_ms: float
    request_throughput_req_s: float
    system_output_throughput_tok_s: float
    system_total_throughput_tok_s: float
    output_throughput_per_user_tok_s: float
    token_output_speed_tok_s: float | None
    request_latency_ms: Percentiles
    ttft_ms: Percentiles | None
    tpot_ms: Percentiles | None
    itl_ms: Percentiles | None


def percentiles(values: Iterable[float]) -> Percentiles | None:
    """``Percentiles`` of ``values``, None for no values."""
    ordered = sorted(values)
    if not ordered:
        return None

    def rank(share: float) -> float:
        return ordered[int(len(ordered) * share)]

    return Percentiles(
        p50=rank(0.50),
        p90=rank(0.90),
        p95=rank(0.95),
        p99=rank(0.99),
        minimum=ordered[0],
        maximum=ordered[-1],
        average=fmean(ordered),
    )


def compute_metrics(requests: Sequence[RequestRecord]) -> Metrics:
    """Metrics of a trial in which every request ended well; ``RecordError`` when there is none or one did not."""
    whole = [request for request in requests if request.status == "ok" and request.token_ns and request.latency_ns > 0]
    if not whole or len(whole) != len(requests):
        raise RecordError(f"metrics need whole requests; {len(whole)} of {len(requests)} are")
    window_s = (max(r.end_ns for r in whole) - min(r.start_ns for r in whole)) / NS_PER_S
    output_tokens = sum(r.output_tokens for r in whole)
    prompt_tokens = sum(r.prompt_tokens for r in whole)
    tpots = [r.tpot_ns for r in whole if r.tpot_ns is not None]
    latency = percentiles(r.latency_ns / NS_PER_MS for r in whole)
    ttft = percentiles(r.ttft_ns / NS_PER_MS for r in whole if r.ttft_ns is not None)
    assert latency is not None
    assert ttft is not None
    return Metrics(
        num_requests=len(whole),
        avg_input_length_tok=prompt_tokens / len(whole),
        avg_output_length_tok=output_tokens / len(whole),
        avg_concurrent_requests=sum(r.latency_ns for r in whole) / NS_PER_S / window_s,
        total_latency_ms=window_s * 1e3,
        avg_request_latency_ms=latency.average,
        request_throughput_req_s=len(whole) / window_s,
        system_output_throughput_tok_s=output_tokens / window_s,
        system_total_throughput_tok_s=(prompt_tokens + output_tokens) / window_s,
        output_throughput_per_user_tok_s=fmean(r.output_tokens / r.latency_ns * NS_PER_S for r in whole),
        token_output_speed_tok_s=fmean(NS_PER_S / tpot for tpot in tpots) if tpots and all(tpots) else None,
        request_latency_ms=latency,
        ttft_ms=ttft,
        tpot_ms=percentiles(tpot / NS_PER_MS for tpot in tpots),
        itl_ms=percentiles(gap / NS_PER_MS for r in whole for gap in r.itl_ns),
    )
