from __future__ import annotations

import pytest

from toolkit.engine.runtime.protocol import FinishReason, PerfMetrics, SamplingParams
from toolkit.engine.text import TextEvent
from toolkit.serving.inputs import Inputs
from toolkit.serving.job import Job, first_token_ns, measured


@pytest.mark.parametrize(
    ("tokens", "finish_reason", "perf", "expected"),
    [
        ((1,), None, None, 900),
        ((1, 2), None, None, 900),
        ((1,), "length", None, 900),
        ((1, 2), "length", PerfMetrics(arrival_ns=40, first_token_ns=70, last_token_ns=500), 130),
        ((1, 2), "stop", PerfMetrics(first_token_ns=70), None),
        ((1, 2), "stop", None, None),
    ],
)
def test_a_whole_answer_at_once_does_not_count_as_a_late_first_token(
    tokens: tuple[int, ...], finish_reason: FinishReason | None, perf: PerfMetrics | None, expected: int | None
) -> None:
    event = TextEvent("", tokens, (), finish_reason, None, 1, len(tokens), time_ns=900, perf=perf)
    assert first_token_ns(event, 100) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, PerfMetrics(arrival_ns=100, first_token_ns=200, last_token_ns=900)),
        (PerfMetrics(1, 2, 3, None, kv_reused_blocks=4), PerfMetrics(1, 2, 200, 900, kv_reused_blocks=4)),
        (PerfMetrics(1, 2, 3, 4), PerfMetrics(1, 2, 3, 4)),
    ],
)
def test_what_the_runtime_did_not_time_was_seen_here(given: PerfMetrics | None, expected: PerfMetrics) -> None:
    event = TextEvent("", (1,), (), "stop", "x", 1, 9, time_ns=900, perf=given)
    job = Job("a#1", "a", None, Inputs("a", None, SamplingParams()), arrived_ns=100)
    job.first_token_ns = 200
    assert measured(event, job).perf == expected
