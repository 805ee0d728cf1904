"""Responses as the protocol's events, where a release's differ from what the stand-in sends."""

from __future__ import annotations

import math
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.engine.runtime.protocol import Event, PerfMetrics, TokenLogprob
from toolkit.engine.runtime.tensorrt_llm.outputs import Deltas, perf_metrics
from toolkit.errors import EngineError


def result(
    tokens: list[int], *, finished: bool = False, reason: str | None = None, stop: Any = None, logprobs: Any = ()
) -> Any:
    output = SimpleNamespace(token_ids=tokens, logprobs=list(logprobs), finish_reason=reason, stop_reason=stop)
    return SimpleNamespace(outputs=[output], finished=finished)


def test_only_what_is_new_is_given() -> None:
    deltas = Deltas(frozenset({9}), None)
    assert deltas.take(result([1]), 10) == Event((1,), 10)
    assert deltas.take(result([1]), 11) is None
    assert deltas.take(result([1, 2, 3]), 12) == Event((2, 3), 12)
    assert deltas.take(result([1, 2, 3], finished=True, reason="length"), 13) == Event((), 13, (), "length")


@pytest.mark.parametrize(
    ("tokens", "stop", "named"),
    [([1, 9], None, 9), ([1, 5], 5, 5), ([1, 5], None, None), ([], None, None), ([1, 9], "a string", 9)],
)
def test_the_token_that_ended_it(tokens: list[int], stop: Any, named: int | None) -> None:
    event = Deltas(frozenset({9}), None).take(result(tokens, finished=True, reason="stop", stop=stop), 10)
    assert event == Event(tuple(tokens), 10, (), "stop", named)


@pytest.mark.parametrize("reason", ["timeout", "cancelled", "not_finished", None])
def test_an_end_that_is_no_answer_is_an_error(reason: str | None) -> None:
    with pytest.raises(EngineError, match=f"^TensorRT-LLM ended the request with '{reason}'$"):
        Deltas(frozenset(), None).take(result([1], finished=True, reason=reason), 10)


def test_logprobs_follow_their_tokens() -> None:
    deltas = Deltas(frozenset(), 1)
    logprob = [{n: SimpleNamespace(logprob=-1.0 * n), n + 1: SimpleNamespace(logprob=-0.25)} for n in (1, 2, 3)]
    first, second = (
        deltas.take(result([1], logprobs=logprob[:1]), 10),
        deltas.take(result([1, 2, 3], logprobs=logprob), 11),
    )
    assert first is not None
    assert second is not None
    assert first.logprobs == (TokenLogprob(1, -1.0, ((2, -0.25),)),)
    assert second.logprobs == (TokenLogprob(2, -2.0, ((3, -0.25),)), TokenLogprob(3, -3.0, ((4, -0.25),)))


def test_a_token_whose_logprob_is_not_given_is_nan() -> None:
    event = Deltas(frozenset(), 2).take(result([5], logprobs=[{1: SimpleNamespace(logprob=-0.5)}]), 10)
    assert event is not None
    [entry] = event.logprobs
    assert math.isnan(entry.logprob)
    assert (entry.token_id, entry.top) == (5, ((1, -0.5),))


@pytest.mark.parametrize("given", [None, [], [-0.5]])
def test_every_token_has_an_entry(given: list[float] | None) -> None:
    made = result([5, 6])
    made.outputs[0].logprobs = given
    event = Deltas(frozenset(), 0).take(made, 10)
    assert event is not None
    assert [entry.token_id for entry in event.logprobs] == [5, 6]
    assert [math.isnan(entry.logprob) for entry in event.logprobs] == [not given, True]


def test_figures_that_a_release_does_not_give_are_unknown() -> None:
    assert perf_metrics(None) is None
    times = SimpleNamespace(arrival_time=timedelta(0), first_token_time=timedelta(days=40, microseconds=7))
    # more microseconds than a float holds exactly
    assert perf_metrics(SimpleNamespace(timing_metrics=times)) == PerfMetrics(
        first_token_ns=(40 * 86_400 * 1_000_000 + 7) * 1000
    )
