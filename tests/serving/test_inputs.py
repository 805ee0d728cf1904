from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.fake_triton import tensor
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import RequestError
from toolkit.serving.inputs import Inputs, parse

CONTEXT = 64


def parsed(**inputs: Any) -> Inputs:
    return parse({name: tensor(value) for name, value in inputs.items()}, max_seq_len=CONTEXT)


def test_defaults_are_those_of_the_official_model() -> None:
    assert parsed(text_input="hé") == Inputs(
        text="hé",
        token_ids=None,
        sampling=SamplingParams(),
        streaming=False,
        stop=(),
        echo=True,
        skip_special_tokens=True,
        cumulative_text=False,
        returns=frozenset(),
    )


def test_every_sampling_parameter() -> None:
    inputs = parse(
        {
            "input_ids": np.array([1, 2], np.int32),
            "sampling_param_max_tokens": np.array([9], np.int32),
            "sampling_param_min_tokens": np.array([2], np.int32),
            "sampling_param_temperature": np.array([0.5], np.float32),
            "sampling_param_top_k": np.array([3], np.int32),
            "sampling_param_top_p": np.array([0.75], np.float32),
            "sampling_param_min_p": np.array([0.25], np.float32),
            "sampling_param_seed": np.array([2**64 - 1], np.uint64),
            "sampling_param_repetition_penalty": np.array([1.5], np.float32),
            "sampling_param_presence_penalty": np.array([-1.5], np.float32),
            "sampling_param_frequency_penalty": np.array([0.125], np.float32),
            "sampling_param_stop_token_ids": np.array([4, 5], np.int32),
            "sampling_param_ignore_eos": np.array([True]),
            "sampling_param_logprobs": np.array([2], np.int32),
        }
    )
    assert inputs.token_ids == (1, 2)
    assert inputs.sampling == SamplingParams(
        max_tokens=9,
        min_tokens=2,
        temperature=0.5,
        top_k=3,
        top_p=0.75,
        min_p=0.25,
        seed=2**64 - 1,
        repetition_penalty=1.5,
        presence_penalty=-1.5,
        frequency_penalty=0.125,
        stop_token_ids=(4, 5),
        ignore_eos=True,
        logprobs=2,
    )


def test_names_of_the_ensemble() -> None:
    inputs = parsed(
        text_input="a",
        stream=True,
        max_tokens=3,
        min_length=1,
        stop_words=["x", "yz"],
        exclude_input_in_output=True,
        return_log_probs=True,
        text_mode="cumulative",
        skip_special_tokens=False,
    )
    assert inputs == Inputs(
        text="a",
        token_ids=None,
        sampling=SamplingParams(max_tokens=3, min_tokens=1, logprobs=0),
        streaming=True,
        stop=("x", "yz"),
        echo=False,
        skip_special_tokens=False,
        cumulative_text=True,
        token_logprobs=True,
        returns=frozenset({"output_log_probs"}),
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "send exactly one of the inputs 'text_input' and 'input_ids'"),
        ({"text_input": "a", "input_ids": [1]}, "send exactly one of the inputs 'text_input' and 'input_ids'"),
        ({"text_input": ["a", "b"]}, "input 'text_input' has 2 elements and must have 1"),
        ({"text_input": b"ab\xff"}, "input 'text_input' is not UTF-8 at byte 2"),
        ({"max_tokens": 0}, "input 'max_tokens' is 0 and must be at least 1"),
        ({"sampling_param_top_k": -5}, "input 'sampling_param_top_k' is -5 and must be at least 0"),
        ({"temperature": float("inf")}, "input 'temperature' is inf and must be between 0 and 100"),
        ({"top_p": 0.0}, "input 'top_p' is 0.0 and must be above 0 and at most 1"),
        ({"min_p": 1.5}, "input 'min_p' is 1.5 and must be between 0 and 1"),
        ({"repetition_penalty": 0.0}, "input 'repetition_penalty' is 0.0 and must be between 0.01 and 100"),
        ({"presence_penalty": float("nan")}, "input 'presence_penalty' is nan and must be between -2 and 2"),
        ({"logprobs": -1}, "input 'logprobs' is -1 and must be between 0 and 1024"),
        ({"logprobs": 1025}, "input 'logprobs' is 1025 and must be between 0 and 1024"),
        ({"stop_words": ["a", ""]}, "input 'stop_words' is '' and must be not empty"),
        ({"text_mode": "lines"}, "input 'text_mode' is 'lines' and must be 'delta' or 'cumulative'"),
        (
            {"sampling_param_best_of": 2},
            "input 'sampling_param_best_of' is 2 and must be 1: a request makes one sequence",
        ),
        ({"beam_width": 2}, "input 'beam_width' is 2 and must be 1: a request makes one sequence"),
        ({"num_return_sequences": 0}, "input 'num_return_sequences' is 0 and must be 1: a request makes one sequence"),
        ({"end_id": -2}, "input 'end_id' is -2 and must be a token id, or -1 for none"),
        ({"stop_words": ["x"] * 10_000}, "input 'stop_words' has 10000 elements and may have 64"),
        ({"stop_token_ids": [1] * 1025}, "input 'stop_token_ids' has 1025 elements and may have 1024"),
        ({"text_input": "", "input_ids": [1] * 65}, "input 'input_ids' has 65 elements and may have 64"),
        (
            {"text_input": "a" * (64 * 256 + 1)},
            "input 'text_input' has 16385 bytes, more than fit into 64 tokens. "
            "Shorten it, or build with a larger engine.max_seq_len",
        ),
        (
            {"max_tokens": 2, "sampling_param_max_tokens": 2},
            "inputs 'sampling_param_max_tokens' and 'max_tokens' mean the same: send one of them",
        ),
        ({"max_tokens": 2, "min_tokens": 3}, "input 'sampling_param_min_tokens' is 3, more than max_tokens 2"),
    ],
)
def test_refusal_names_the_tensor(inputs: dict[str, Any], message: str) -> None:
    if inputs and "text_input" not in inputs:
        inputs = {"text_input": "a", **inputs}
    with pytest.raises(RequestError) as caught:
        parsed(**inputs)
    assert str(caught.value) == message


def test_what_nvidias_clients_send_without_asking_for_anything() -> None:
    plain = parsed(text_input="a")
    neutral = {"beam_width": 1, "num_return_sequences": 1, "length_penalty": 2.0, "pad_id": 0, "end_id": -1}
    empty = {"bad_words": ["", ""], "lora_name": "", "guided_decoding_guide": "", "return_context_logits": False}
    assert parsed(text_input="a", **neutral, **empty, num_draft_tokens=0, sampling_param_best_of=1) == plain


def test_end_id_is_one_stop_token_more() -> None:
    assert parsed(text_input="a", end_id=7).sampling.stop_token_ids == (7,)
    assert parsed(text_input="a", end_id=7, stop_token_ids=[8]).sampling.stop_token_ids == (8, 7)


def test_performance_metrics_by_either_name() -> None:
    assert parsed(text_input="a", return_perf_metrics=True).perf_metrics
    assert parsed(text_input="a", sampling_param_return_perf_metrics=True).perf_metrics


def test_stop_needs_no_prompt() -> None:
    expected = Inputs(text=None, token_ids=None, sampling=SamplingParams(), cancel=True)
    assert parsed(stop=True) == parsed(stop=True, text_input="a") == expected
    assert not parsed(stop=False, text_input="a").cancel


@given(st.binary(max_size=20))
def test_any_bytes_are_text_or_refused(raw: bytes) -> None:
    try:
        expected = raw.decode()
    except UnicodeDecodeError:
        with pytest.raises(RequestError, match="is not UTF-8"):
            parsed(text_input=raw)
    else:
        assert parsed(text_input=raw).text == expected
