from __future__ import annotations

import pytest

from toolkit.engine.runtime.protocol import FinishReason, PerfMetrics
from toolkit.engine.text import TextEvent
from toolkit.serving.job import first_token_ns


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
