from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.engine.runtime.protocol import PerfMetrics, SamplingParams, TokenLogprob
from toolkit.engine.text import TextEvent
from toolkit.serving.inputs import Inputs
from toolkit.serving.reply import Outputs, Reply
from toolkit.serving.tensors import OUTPUTS, PERF_OUTPUTS, RETURN_INPUTS

EVERYTHING = frozenset(spec.key for spec in RETURN_INPUTS)
NUMPY = {"BYTES": np.object_, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32}


def inputs(**more: Any) -> Inputs:
    return Inputs("a", None, more.pop("sampling", SamplingParams()), streaming=True, echo=False, **more)


def event(text: str, *ids: int, **more: Any) -> TextEvent:
    fields = {"logprobs": (), "finish_reason": None, "stop_reason": None, "prompt_tokens": 3, "output_tokens": len(ids)}
    return TextEvent(text, ids, **{**fields, **more})


def plain(outputs: Outputs) -> dict[str, Any]:
    return {name: array.tolist() for name, array in outputs.items()}


def test_first_tokens_are_due_at_once_and_later_ones_by_the_interval() -> None:
    reply = Reply(inputs(), interval=3)
    due = []
    for text in "abcdefg":
        reply.add(event(text, 1))
        due.append((reply.due, plain(reply.take())["text_output"] if reply.due else None))
    assert due == [
        (True, [b"a"]),
        (False, None),
        (False, None),
        (True, [b"bcd"]),
        (False, None),
        (False, None),
        (True, [b"efg"]),
    ]


def test_what_is_not_due_can_be_taken_early() -> None:
    reply = Reply(inputs(), interval=9)
    assert (reply.holds, reply.begun) == (False, False)
    reply.add(event("a", 1))
    reply.take()
    assert (reply.holds, reply.begun) == (False, True)
    reply.add(event("b", 2))
    assert (reply.holds, reply.due) == (True, False)
    assert plain(reply.take()) == {"text_output": [b"b"]}


def test_without_streaming_nothing_is_due_before_the_end() -> None:
    reply = Reply(Inputs("a", None, SamplingParams(), echo=False))
    reply.add(event("a", 1))
    last = event("b", 2, finish_reason="length")
    reply.add(last)
    assert (reply.holds, reply.due) == (False, False)
    assert plain(reply.take_last(last)) == {"text_output": [b"ab"]}


def test_cumulative_text_repeats_the_prompt_and_all_before() -> None:
    asked = Inputs("p", None, SamplingParams(), streaming=True, cumulative_text=True)
    reply = Reply(asked, prompt="p")
    taken = []
    for text in "ab":
        reply.add(event(text, 1))
        taken += plain(reply.take())["text_output"]
    assert taken == [b"pa", b"pab"]


def test_each_response_says_when_the_engine_made_its_newest_token() -> None:
    reply = Reply(inputs(returns=frozenset({"response_time_ns"})))
    reply.add(event("a", 1, time_ns=2**40))
    reply.add(event("b", 2, time_ns=2**40 + 1))
    assert plain(reply.take()) == {"text_output": [b"ab"], "response_time_ns": [2**40 + 1]}


def test_last_response_in_the_declared_datatypes() -> None:
    perf = PerfMetrics(2**40, 2**40 + 1, 2**40 + 2, 2**40 + 3, 4, 5, 6, 7, 0.5, 0.25, 8, 9)
    reply = Reply(
        inputs(sampling=SamplingParams(logprobs=1), returns=EVERYTHING, token_logprobs=True, perf_metrics=True)
    )
    last = event(
        "ab",
        1,
        logprobs=(TokenLogprob(1, -0.5, ((1, -0.5),)),),
        finish_reason="stop",
        stop_reason=1,
        cached_tokens=2,
        time_ns=2**40,
        perf=perf,
    )
    reply.add(last)
    outputs = reply.take_last(last)
    assert {name: array.dtype for name, array in outputs.items()} == {
        output.name: np.dtype(NUMPY[output.datatype]) for output in OUTPUTS
    }
    assert {name: array.ndim for name, array in outputs.items()} == {output.name: output.rank for output in OUTPUTS}
    values = {name: value for name, (value, *_) in plain(outputs).items()}
    assert {name: values[name] for name in PERF_OUTPUTS} == {
        name: getattr(perf, field) for name, field in PERF_OUTPUTS.items()
    }
    assert (values["finish_reason"], values["stop_reason"], values["num_cached_tokens"]) == (b"stop", b"1", 2)
    assert (values["num_input_tokens"], values["num_output_tokens"], values["cumulative_logprob"]) == (3, 1, -0.5)


def test_likely_tokens_that_the_runtime_does_not_name_leave_gaps() -> None:
    reply = Reply(inputs(sampling=SamplingParams(logprobs=2), token_logprobs=True))
    entries = (
        TokenLogprob(1, -0.5),
        TokenLogprob(2, -1.0, ((2, -1.0),)),
        TokenLogprob(3, -2.0, ((9, -1.0), (3, -2.0))),
    )
    reply.add(event("abc", 1, 2, 3, logprobs=entries))
    outputs = reply.take()
    assert outputs["output_top_ids"].tolist() == [[-1, -1], [2, -1], [9, 3]]
    np.testing.assert_array_equal(outputs["output_top_log_probs"], [[np.nan] * 2, [-1.0, np.nan], [-1.0, -2.0]])


def test_figures_that_the_runtime_lacks_are_not_sent() -> None:
    reply = Reply(inputs(returns=frozenset({"num_cached_tokens"}), perf_metrics=True))
    last = event("a", 1, finish_reason="length", perf=PerfMetrics(arrival_ns=5))
    reply.add(last)
    assert plain(reply.take_last(last)) == {"text_output": [b"a"], "arrival_time_ns": [5]}
