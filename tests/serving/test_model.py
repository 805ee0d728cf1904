from __future__ import annotations

import asyncio
import json
import runpy
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import fake_triton, toy
from tests.serving.fake_triton import MetricFamily, Request, Sender
from toolkit.serving.model import ServedModel


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the model process would have ended itself."""
    event = threading.Event()
    monkeypatch.setattr("os._exit", lambda code: event.set())
    return event


@pytest.fixture
def model(tmp_path: Path, ended: threading.Event) -> Iterator[ServedModel]:
    toy.write_bundle(tmp_path / "bundle")
    served = ServedModel.load(fake_triton, "toy", parameters(tmp_path / "bundle"))
    yield served
    served.close()


def parameters(bundle: Path, **more: str) -> dict[str, str]:
    return {"bundle": str(bundle), "engine_factory": toy.FACTORY, "max_queue_size": "2", "coalesce": "false", **more}


def ask(model: ServedModel, **inputs: Any) -> Sender:
    request = Request(**inputs)
    model.execute([request])
    return request.sender


def counted(outcome: str) -> float:
    return MetricFamily.values["trtkit_requests_total", outcome, "toy"].value


def test_one_response_with_the_prompt_first_as_the_official_model_answers(model: ServedModel) -> None:
    sender = ask(model, text_input="ab", max_tokens=4).wait()
    assert (sender.responses, sender.error, sender.misused) == ([{"text_output": ["abcdef"]}], None, [])


def test_streamed_deltas_with_everything_asked_for(model: ServedModel) -> None:
    sender = ask(
        model,
        input_ids=[97, 98],
        stream=True,
        max_tokens=2,
        exclude_input_in_output=True,
        return_output_ids=True,
        return_finish_reason=True,
        return_stop_reason=True,
        return_num_input_tokens=True,
        return_num_output_tokens=True,
        return_cumulative_logprob=True,
        logprobs=2,
    ).wait()
    top = {"output_log_probs": [-0.5], "output_top_log_probs": [[-0.5, -1.5]]}
    assert sender.responses == [
        {"text_output": ["c"], "output_ids": [99], **top, "output_top_ids": [[99, 100]]},
        {
            "text_output": ["d"],
            "output_ids": [100],
            **top,
            "output_top_ids": [[100, 101]],
            "finish_reason": ["length"],
            "stop_reason": [""],
            "num_input_tokens": [2],
            "num_output_tokens": [2],
            "cumulative_logprob": [-1.0],
        },
    ]
    assert (sender.error, sender.misused) == (None, [])


def test_deltas_never_split_a_character(model: ServedModel) -> None:
    sender = ask(model, text_input="é", stream=True, max_tokens=4, exclude_input_in_output=True).wait()
    assert [response["text_output"] for response in sender.responses] == [[""], ["é"], [""], ["é"]]


def test_stop_string_ends_the_text_before_it(model: ServedModel) -> None:
    sender = ask(model, text_input="a", stop_words=["ef"], exclude_input_in_output=True, return_stop_reason=True).wait()
    assert sender.responses == [{"text_output": ["bcd"], "stop_reason": ["ef"]}]


def test_streams_and_their_sum_are_the_same_text(model: ServedModel) -> None:
    whole = ask(model, text_input="a", max_tokens=30).wait()
    deltas = ask(model, text_input="a", max_tokens=30, streaming=True).wait()
    cumulative = ask(model, text_input="a", max_tokens=30, streaming=True, text_mode="cumulative").wait()
    assert "".join(r["text_output"][0] for r in deltas.responses) == whole.responses[0]["text_output"][0]
    assert cumulative.responses[-1] == whole.responses[0]


@pytest.mark.parametrize(
    ("inputs", "code", "message"),
    [
        ({"text_input": "a", "max_tokens": 0}, "INVALID_ARG", "input 'max_tokens' is 0 and must be at least 1"),
        ({"max_tokens": 1}, "INVALID_ARG", "send exactly one of the inputs 'text_input' and 'input_ids'"),
        ({"text_input": "a" * 64}, "INVALID_ARG", "the prompt has 64 tokens, the context 64"),
        (
            {"text_input": "a" * (64 * 256 + 1)},
            "INVALID_ARG",
            "input 'text_input' has 16385 bytes, more than fit into 64 tokens. "
            "Shorten it, or build with a larger engine.max_seq_len",
        ),
        ({"input_ids": [-1]}, "INVALID_ARG", "input 'input_ids' is -1 and must be at least 0"),
        ({"text_input": "a", "stop_words": ["b", ""]}, "INVALID_ARG", "input 'stop_words' is '' and must be not empty"),
        (
            {"text_input": "a", "parameters": {"max_token": 3}},
            "INVALID_ARG",
            "unknown request parameter 'max_token'. Send 'max_tokens' as an input tensor",
        ),
        ({"text_input": "x"}, "INTERNAL", "ValueError: no such luck"),
    ],
)
def test_one_bad_request_gets_one_error_and_the_model_goes_on(
    model: ServedModel, inputs: dict[str, Any], code: str, message: str
) -> None:
    sender = ask(model, **inputs).wait()
    assert sender.error is not None
    assert (sender.responses, sender.error.code, sender.error.message) == ([], code, message)
    assert sender.misused == []
    assert ask(model, text_input="a", max_tokens=1).wait().responses == [{"text_output": ["ab"]}]
    assert counted("completed") == 1
    assert counted("failed") + counted("rejected") == 1


def test_dead_engine_answers_with_its_reason_and_ends_the_process(model: ServedModel, ended: threading.Event) -> None:
    held = ask(model, text_input="h", streaming=True)
    assert held.first.wait(10)
    first, second = ask(model, text_input="d").wait(), ask(model, text_input="a").wait()
    for sender in (held.wait(), first, second):
        assert sender.error is not None
        assert (sender.error.code, sender.error.message) == ("INTERNAL", "the engine died: out of luck")
    assert ended.wait(10)
    assert not model.ready


def test_engine_that_dies_between_requests_ends_the_process(
    model: ServedModel, ended: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_triton.Logger, "errors", [])
    assert ask(model, text_input="a", max_tokens=1).wait().error is None
    assert isinstance(model._engine, toy.ToyEngine)
    model._engine.die()
    assert ended.wait(10)
    assert not model.ready
    assert fake_triton.Logger.errors == ["trtkit: the engine died: out of luck"]


def test_client_that_is_gone_frees_its_slot(model: ServedModel) -> None:
    running = [ask(model, text_input="h", streaming=True) for _ in range(toy.SLOTS)]
    assert all(sender.first.wait(10) for sender in running)
    waiting = ask(model, text_input="a", max_tokens=1)
    running[0].gone = True
    assert waiting.wait().responses == [{"text_output": ["ab"]}]
    cancelled = running[0].wait()
    assert cancelled.error is not None
    assert (cancelled.error.code, cancelled.misused) == ("CANCELLED", [])
    assert counted("cancelled") == 1


def test_client_that_is_gone_while_it_waits_is_forgotten(model: ServedModel) -> None:
    running = [ask(model, text_input="h", streaming=True) for _ in range(toy.SLOTS)]
    assert all(sender.first.wait(10) for sender in running)
    waiting = ask(model, text_input="a")
    waiting.gone = True
    assert waiting.wait().responses == []
    assert not any(sender.final.is_set() for sender in running)


def test_full_queue_refuses_as_unavailable(model: ServedModel) -> None:
    held = [ask(model, text_input="h", streaming=True) for _ in range(toy.SLOTS + 2)]
    refused = ask(model, text_input="a").wait()
    assert refused.error is not None
    assert refused.error.code == "UNAVAILABLE"
    assert refused.error.message == "the queue is full: 6 requests are running or waiting"
    assert not any(sender.final.is_set() for sender in held)


def test_stop_ends_every_request_with_its_id_and_answers(model: ServedModel) -> None:
    held = [ask(model, id="same", text_input="h", streaming=True) for _ in range(2)]
    other = ask(model, id="other", text_input="h", streaming=True)
    assert all(sender.first.wait(10) for sender in (*held, other))
    answer = ask(model, id="same", stop=True).wait()
    assert (answer.responses, answer.error, answer.misused) == ([{}], None, [])
    for sender in held:
        error = sender.wait().error
        assert error is not None
        assert (error.code, error.message) == ("CANCELLED", "the client cancelled the request")
    assert not other.final.is_set()
    assert counted("cancelled") == 2


def test_stop_is_served_when_the_queue_is_full(model: ServedModel) -> None:
    held = [ask(model, id="a", text_input="h", streaming=True) for _ in range(toy.SLOTS + 2)]
    assert ask(model, id="a", stop=True).wait().error is None
    assert [sender.wait().error is not None for sender in held] == [True] * len(held)


def test_stop_without_an_id_is_refused(model: ServedModel) -> None:
    refused = ask(model, id="", stop=True).wait()
    assert refused.error is not None
    assert (refused.error.code, refused.error.message) == (
        "INVALID_ARG",
        "input 'stop' needs a request id: send that of the request to stop",
    )


def test_engine_that_fails_at_one_request_serves_the_others(model: ServedModel) -> None:
    held = ask(model, text_input="h", streaming=True)
    assert held.first.wait(10)
    failed = ask(model, text_input="f", streaming=True).wait()
    assert failed.error is not None
    assert (len(failed.responses), failed.error.code, failed.error.message) == (
        1,
        "INTERNAL",
        "no KV cache block is free",
    )
    assert not held.final.is_set()
    assert (counted("failed"), model.ready) == (1, True)


def test_performance_metrics_in_the_declared_datatypes(model: ServedModel) -> None:
    sender = ask(model, text_input="a", max_tokens=3, return_perf_metrics=True, return_num_cached_tokens=True).wait()
    [response] = sender.responses
    arrival, first, last = (response[f"{name}_time_ns"][0] for name in ("arrival", "first_token", "last_token"))
    assert arrival <= first <= last
    assert response["num_cached_tokens"] == [0]
    assert response.keys() == {
        "text_output",
        "num_cached_tokens",
        "arrival_time_ns",
        "first_token_time_ns",
        "last_token_time_ns",
    }


def test_latencies_and_tokens_are_measured(model: ServedModel) -> None:
    ask(model, text_input="ab", max_tokens=3).wait()
    ask(model, text_input="ab", max_tokens=1).wait()
    ask(model, text_input="a" * 64).wait()
    values = MetricFamily.values
    seen = {
        name: len(values[f"trtkit_{name}_seconds", "toy"].observed)
        for name in ("time_to_first_token", "time_per_output_token", "queue")
    }
    assert seen == {"time_to_first_token": 2, "time_per_output_token": 1, "queue": 0}
    tokens = {
        kind: values["trtkit_tokens_total", *sorted((kind, "toy"))].value for kind in ("prompt", "generated", "cached")
    }
    assert tokens == {"prompt": 4, "generated": 4, "cached": 2}


def test_a_response_that_cannot_be_sent_ends_only_its_stream(model: ServedModel) -> None:
    request = Request(text_input="a", streaming=True, max_tokens=9)
    request.sender.broken = True
    model.execute([request])
    error = request.sender.wait().error
    assert error is not None
    assert (error.code, error.message) == ("INTERNAL", "TritonModelException: the response sender is broken")
    assert (request.sender.responses, counted("failed"), counted("cancelled")) == ([], 1, 0)
    assert ask(model, text_input="a", max_tokens=1).wait().responses == [{"text_output": ["ab"]}]


def test_metrics_that_are_not_taken_keep_nobody_from_an_answer(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MetricFamily, "broken", True)
    monkeypatch.setattr(fake_triton.Logger, "errors", [])
    assert ask(model, text_input="a", max_tokens=1).wait().responses == [{"text_output": ["ab"]}]
    refused = ask(model, text_input="a", max_tokens=-1).wait().error
    assert refused is not None
    assert refused.code == "INVALID_ARG"
    assert "trtkit: a metric was not updated: Failed to update metric" in fake_triton.Logger.errors


def test_an_answer_that_cannot_be_ended_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_triton.Logger, "errors", [])
    toy.write_bundle(tmp_path / "bundle")
    model = ServedModel.load(fake_triton, "toy", parameters(tmp_path / "bundle"))
    request = Request(text_input="a", max_tokens=1)
    monkeypatch.setattr(request.sender, "send", lambda response, flags: 1 // 0)
    model.execute([request])
    model.close()
    assert fake_triton.Logger.errors == ["trtkit: ZeroDivisionError: integer division or modulo by zero"]


def test_close_ends_open_streams(tmp_path: Path) -> None:
    toy.write_bundle(tmp_path / "bundle")
    model = ServedModel.load(fake_triton, "toy", parameters(tmp_path / "bundle"))
    held = [ask(model, text_input="h", streaming=True) for _ in range(toy.SLOTS + 1)]
    assert all(sender.first.wait(10) for sender in held[:-1])
    model.close()
    for sender in held:
        assert sender.final.is_set()
        assert sender.error is not None
        assert sender.error.message == "the engine was closed"


def test_stream_interval_of_the_recipe(tmp_path: Path) -> None:
    toy.write_bundle(tmp_path / "bundle", stream_interval=3)
    model = ServedModel.load(fake_triton, "toy", parameters(tmp_path / "bundle"))
    sender = ask(model, text_input="a", streaming=True, max_tokens=6, exclude_input_in_output=True).wait()
    model.close()
    assert [response["text_output"] for response in sender.responses] == [["b"], ["cde"], ["fg"]]


def test_coalesced_responses_hold_the_same_tokens(tmp_path: Path) -> None:
    toy.write_bundle(tmp_path / "bundle")
    model = ServedModel.load(fake_triton, "toy", parameters(tmp_path / "bundle", coalesce="true"))
    whole, streamed = (
        ask(model, text_input="a", streaming=streaming, max_tokens=60, return_output_ids=True).wait()
        for streaming in (False, True)
    )
    model.close()
    assert len(streamed.responses) < 60
    assert (
        "".join(response["text_output"][0] for response in streamed.responses) == whole.responses[0]["text_output"][0]
    )
    ids = [token for response in streamed.responses for token in response["output_ids"]]
    assert ids == whole.responses[0]["output_ids"]


def test_missing_bundle_is_the_reason_why_the_model_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(fake_triton.TritonModelException) as caught:
        ServedModel.load(fake_triton, "toy", parameters(tmp_path / "none"))
    assert str(caught.value) == f"{tmp_path / 'none'}: there is no engine bundle. Type: trtkit engine RECIPE"


def test_entry_point_of_the_repository_says_whether_the_model_is_ready(
    tmp_path: Path, ended: threading.Event, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.write_bundle(tmp_path / "bundle")
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake_triton)
    entry = runpy.run_path(str(root / "triton_repo/tensorrt_llm/1/model.py"))["TritonPythonModel"]()
    given = parameters(tmp_path / "bundle", toolkit_path=str(root))
    config = {"parameters": {name: {"string_value": value} for name, value in given.items()}}
    entry.initialize({"model_name": "toy", "model_config": json.dumps(config)})
    assert entry.is_ready() is True
    request = Request(text_input="d")
    entry.execute([request])
    request.sender.wait()
    assert entry.is_ready() is False
    entry.finalize()


def test_the_toy_counts_the_alphabet() -> None:
    async def run() -> list[int]:
        from toolkit.engine.runtime.protocol import Request as EngineRequest
        from toolkit.engine.runtime.protocol import SamplingParams

        engine = toy.ToyEngine()
        request = EngineRequest("1", (ord("y"),), SamplingParams(max_tokens=3))
        return [token async for event in engine.submit(request) for token in event.token_ids]

    assert bytes(asyncio.run(run())) == b"zab"
