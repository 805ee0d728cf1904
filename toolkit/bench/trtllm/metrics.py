"""A report of trtllm-bench in the names of ``toolkit.bench.metrics``, which are its own.

Two things differ from what our clients measure: its clock starts when a request was admitted, and there is no
inter-token latency.
"""

from __future__ import annotations

from toolkit.bench.metrics import Metrics, Percentiles
from toolkit.bench.trtllm.measurement import Measurement, Stats


def metrics_of(report: Measurement) -> Metrics | None:
    """None where the report lacks a figure that every report has."""
    info, speed, streaming = report.request_info, report.performance, report.streaming
    latency = _percentiles(speed.request_latency_ms)
    needed = {
        "num_requests": info.num_requests,
        "avg_input_length_tok": info.avg_input_length_tok,
        "avg_output_length_tok": info.avg_output_length_tok,
        "avg_concurrent_requests": info.avg_concurrent_requests,
        "total_latency_ms": speed.total_latency_ms,
        "avg_request_latency_ms": speed.avg_request_latency_ms,
        "request_throughput_req_s": speed.request_throughput_req_s,
        "system_output_throughput_tok_s": speed.system_output_throughput_tok_s,
        "system_total_throughput_tok_s": speed.system_total_throughput_tok_s,
        "output_throughput_per_user_tok_s": speed.output_throughput_per_user_tok_s,
        "request_latency_ms": latency,
    }
    if any(value is None for value in needed.values()):
        return None
    return Metrics.model_validate(
        needed
        | {
            "token_output_speed_tok_s": None if streaming is None else streaming.token_output_speed_tok_s,
            "ttft_ms": None if streaming is None else _percentiles(streaming.ttft_ms),
            "tpot_ms": None if streaming is None else _percentiles(streaming.tpot_ms),
            "itl_ms": None,
        }
    )


def _percentiles(stats: Stats) -> Percentiles | None:
    values = stats.model_dump()
    return None if any(value is None for value in values.values()) else Percentiles(**values)
