from __future__ import annotations

import pytest

from tests.serving import fake_triton
from tests.serving.fake_triton import MetricFamily
from toolkit.engine.runtime.protocol import PerfMetrics, Stats
from toolkit.engine.text import TextEvent
from toolkit.serving import metrics
from toolkit.serving.metrics import Metrics

STATS = Stats(2, 3, 4, 30, 120, 0, 0, 0, 0, 0, 0, {"kv_cache_hit_rate": 0.25})


@pytest.fixture
def shown() -> Metrics:
    MetricFamily.values.clear()
    return Metrics(fake_triton, "m")


def value(name: str, *labels: str) -> float:
    return MetricFamily.values[f"trtkit_{name}", *sorted((*labels, "m"))].value


def observed(name: str) -> list[float]:
    return MetricFamily.values[f"trtkit_{name}_seconds", "m"].observed


def last(prompt: int, output: int, perf: PerfMetrics | None, cached: int | None = None) -> TextEvent:
    return TextEvent("", (), (), "length", None, prompt, output, 0, cached, perf)


def test_gauges_with_those_of_the_runtime(shown: Metrics) -> None:
    shown.show(STATS)
    assert {name: value(name) for name in ("running_requests", "waiting_requests", "kv_use_ratio")} == {
        "running_requests": 2,
        "waiting_requests": 3,
        "kv_use_ratio": 0.25,
    }
    assert value("runtime_kv_cache_hit_rate") == 0.25


def test_gauge_of_a_cache_that_the_runtime_does_not_count_is_absent(shown: Metrics) -> None:
    shown.show(Stats(0, 0, 4, 0, 0, 0, 0, 0, 0, 0))
    assert ("trtkit_kv_use_ratio", "m") not in MetricFamily.values
    assert value("running_requests") == 0


def test_tokens_and_latencies_of_a_completed_request(shown: Metrics) -> None:
    shown.completed(last(7, 5, PerfMetrics(10**9, 3 * 10**9, 4 * 10**9, 6 * 10**9), cached=4))
    shown.completed(last(1, 1, PerfMetrics(first_token_ns=5, last_token_ns=5)))
    shown.first_token(0.25)
    shown.first_token(-0.001)
    assert [value("tokens_total", kind) for kind in metrics.KINDS] == [8, 6, 4]
    assert (observed("time_per_output_token"), observed("queue")) == ([0.5], [2.0])
    assert observed("time_to_first_token") == [0.25, 0.0]


def test_every_metric_stands_in_the_table(shown: Metrics) -> None:
    shown.show(STATS)
    names = {name for name, *_ in MetricFamily.values}
    missing = {name for name in names if f"``{name}``" not in (metrics.__doc__ or "")}
    assert missing == {"trtkit_runtime_kv_cache_hit_rate"}
    assert "``trtkit_runtime_*``" in (metrics.__doc__ or "")
