from __future__ import annotations

import math

import pytest

from toolkit.bench.stats.options import METRICS, Metric, Options
from toolkit.errors import RecordError


def test_the_thresholds_of_each_metric() -> None:
    assert [(one.name, one.better, one.threshold) for one in METRICS] == [
        ("system_output_throughput_tok_s", "higher", 0.02),
        ("output_throughput_per_user_tok_s", "higher", 0.02),
        ("tpot_ms.p50", "lower", 0.02),
        ("ttft_ms.p50", "lower", 0.05),
        ("ttft_ms.p99", "lower", 0.1),
    ]


@pytest.mark.parametrize("threshold", [0.0, -0.1, math.nan, math.inf])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(RecordError, match="the threshold of m is"):
        Metric("m", "higher", threshold)


def test_options_that_make_no_sense() -> None:
    with pytest.raises(RecordError, match="alpha is 1, it must lie between 0 and 1"):
        Options(alpha=1)
    with pytest.raises(RecordError, match="a metric stands twice"):
        Options(metrics=METRICS[:1] * 2)
