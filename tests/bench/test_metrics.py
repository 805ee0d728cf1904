"""Metrics against arithmetic written out by hand, and the identities of trtllm-bench's report."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bench.metrics import compute_metrics, percentiles
from toolkit.bench.request import RequestRecord
from toolkit.errors import RecordError

MS = 1_000_000


def request(number: int, start: int, first: int, *gaps: int, isl: int = 10) -> RequestRecord:
    """Times in milliseconds."""
    tokens = [first]
    for gap in gaps:
        tokens.append(tokens[-1] + gap)
    times = tuple(time * MS for time in tokens)
    return RequestRecord(
        id=number, prompt_tokens=isl, start_ns=start * MS, token_ns=times, end_ns=times[-1], status="ok"
    )


def test_two_overlapping_requests() -> None:
    # 0 ms ... 100, 110, 120, 150 ms  and  50 ms ... 250, 270, 330 ms
    metrics = compute_metrics([request(0, 0, 100, 10, 10, 30), request(1, 50, 250, 20, 60, isl=20)])
    tpot_a, tpot_b = 50 / 3, 80 / 2
    scalars = {
        "num_requests": 2,
        "avg_input_length_tok": 15.0,
        "avg_output_length_tok": 3.5,
        "avg_concurrent_requests": (0.150 + 0.280) / 0.330,
        "total_latency_ms": 330.0,
        "avg_request_latency_ms": (150 + 280) / 2,
        "request_throughput_req_s": 2 / 0.330,
        "system_output_throughput_tok_s": 7 / 0.330,
        "system_total_throughput_tok_s": (30 + 7) / 0.330,
        "output_throughput_per_user_tok_s": (4 / 0.150 + 3 / 0.280) / 2,
        "token_output_speed_tok_s": (1000 / tpot_a + 1000 / tpot_b) / 2,
    }
    spreads = {  # p50, p90, p95, p99, minimum, maximum, average
        "request_latency_ms": (280, 280, 280, 280, 150, 280, 215),
        "ttft_ms": (200, 200, 200, 200, 100, 200, 150),
        "tpot_ms": (40, 40, 40, 40, tpot_a, 40, (tpot_a + tpot_b) / 2),
        "itl_ms": (20, 60, 60, 60, 10, 60, (10 + 10 + 30 + 20 + 60) / 5),
    }
    found = metrics.model_dump()
    assert {name: tuple(found.pop(name).values()) for name in spreads} == {
        name: pytest.approx(values) for name, values in spreads.items()
    }
    assert found == pytest.approx(scalars)


@pytest.mark.parametrize(
    ("count", "p50", "p99"), [(1, 0, 0), (2, 1, 1), (3, 1, 2), (4, 2, 3), (99, 49, 98), (100, 50, 99), (1000, 500, 990)]
)
def test_percentiles_are_nearest_rank(count: int, p50: int, p99: int) -> None:
    values = list(range(count))
    random.Random(0).shuffle(values)
    result = percentiles(values)
    assert result is not None
    assert (result.p50, result.p99) == (p50, p99)
    assert (result.minimum, result.maximum) == (0, count - 1)


def test_no_values_have_no_percentiles() -> None:
    assert percentiles([]) is None


@st.composite
def loads(draw: st.DrawFn) -> list[RequestRecord]:
    times = st.integers(1, 500)
    count = draw(st.integers(1, 12))
    records = []
    for number in range(count):
        start = draw(st.integers(0, 2000))
        gaps = draw(st.lists(times, max_size=8))
        records.append(request(number, start, start + draw(times), *gaps, isl=draw(st.integers(1, 99))))
    return records


@given(loads())
def test_identities(records: list[RequestRecord]) -> None:
    m = compute_metrics(records)
    assert math.isclose(m.system_output_throughput_tok_s, m.request_throughput_req_s * m.avg_output_length_tok)
    assert math.isclose(
        m.system_total_throughput_tok_s,
        m.request_throughput_req_s * (m.avg_input_length_tok + m.avg_output_length_tok),
    )
    assert math.isclose(m.avg_concurrent_requests, m.request_throughput_req_s * m.avg_request_latency_ms / 1e3)
    assert math.isclose(m.total_latency_ms / 1e3, m.num_requests / m.request_throughput_req_s)


@given(loads())
def test_a_request_is_its_first_token_and_its_gaps(records: list[RequestRecord]) -> None:
    """Σ E2E = Σ TTFT + Σ ITL, the relation between the three kinds of latency."""
    m = compute_metrics(records)
    gaps = sum(record.output_tokens - 1 for record in records)
    total = m.ttft_ms.average * len(records) + (m.itl_ms.average * gaps if m.itl_ms else 0.0)
    assert math.isclose(total, m.request_latency_ms.average * len(records))


def test_outputs_of_one_token() -> None:
    metrics = compute_metrics([request(0, 0, 100), request(1, 0, 200)])
    assert metrics.tpot_ms is None
    assert metrics.itl_ms is None
    assert metrics.token_output_speed_tok_s is None
    assert metrics.output_throughput_per_user_tok_s == (1 / 0.1 + 1 / 0.2) / 2


def test_a_whole_output_in_one_message_has_no_speed() -> None:
    metrics = compute_metrics([request(0, 0, 100, 0, 0), request(1, 0, 100, 10, 10)])
    assert metrics.token_output_speed_tok_s is None
    assert metrics.tpot_ms is not None
    assert metrics.tpot_ms.minimum == 0.0


@pytest.mark.parametrize("broken", [{"status": "error"}, {"token_ns": ()}, {"end_ns": 0}])
def test_unfinished_requests_have_no_metrics(broken: dict[str, object]) -> None:
    records = [request(0, 0, 100, 10), request(1, 0, 100, 10).model_copy(update=broken)]
    with pytest.raises(RecordError, match="1 of 2 are"):
        compute_metrics(records)


def test_no_requests_have_no_metrics() -> None:
    with pytest.raises(RecordError, match="0 of 0"):
        compute_metrics([])
