from __future__ import annotations

from typing import Any

import pytest

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.engine.runtime.tensorrt_llm.sampling import sampling_kwargs
from toolkit.errors import RequestError

BASE = {
    "max_tokens": 16,
    "end_id": 7,
    "pad_id": 7,
    "include_stop_str_in_output": True,
    "detokenize": False,
    "add_special_tokens": False,
    "return_perf_metrics": True,
}


@pytest.mark.parametrize(
    ("sampling", "eos_ids", "expected"),
    [
        ({}, (7,), {**BASE, "top_k": 1}),
        ({"top_k": 5, "top_p": 0.5, "min_p": 0.1, "seed": 3}, (7,), {**BASE, "top_k": 1}),  # temperature 0 is greedy
        ({"temperature": 0.5}, (7,), {**BASE, "temperature": 0.5, "top_p": 1.0}),
        (
            {"temperature": 2.0, "top_k": 5, "top_p": 0.9, "seed": 2**64 - 1},
            (7,),
            {**BASE, "temperature": 2.0, "top_p": 0.9, "top_k": 5, "seed": 2**64 - 1},
        ),
        (
            {"temperature": 1.0, "min_p": 0.1, "repetition_penalty": 1.5, "presence_penalty": -1.0},
            (7,),
            {**BASE, "temperature": 1.0, "top_p": 1.0, "min_p": 0.1}
            | {"repetition_penalty": 1.5, "presence_penalty": -1.0},
        ),
        ({"frequency_penalty": 0.5}, (7,), {**BASE, "top_k": 1, "frequency_penalty": 0.5}),
        ({"stop_token_ids": (3, 7, 4, 3)}, (7, 8), {**BASE, "top_k": 1, "stop_token_ids": [8, 3, 4]}),
        (
            {"stop_token_ids": (3, 7), "ignore_eos": True, "min_tokens": 2},
            (7, 8),
            {**BASE, "top_k": 1, "end_id": -1, "stop_token_ids": [3, 7]},
        ),
        ({"min_tokens": 2}, (7,), {**BASE, "top_k": 1, "min_tokens": 2}),
        ({}, (), {**BASE, "top_k": 1, "end_id": -1, "pad_id": 0}),
        ({"logprobs": 0}, (7,), {**BASE, "top_k": 1, "logprobs": 1}),
        ({"logprobs": 5, "max_tokens": 99}, (7,), {**BASE, "top_k": 1, "logprobs": 5, "max_tokens": 99}),
    ],
)
def test_keywords(sampling: dict[str, Any], eos_ids: tuple[int, ...], expected: dict[str, Any]) -> None:
    assert sampling_kwargs(SamplingParams(**sampling), eos_ids) == expected


def test_what_the_sampler_ignores_is_refused_when_asked_for() -> None:
    ignored = frozenset({"min_p", "repetition_penalty"})
    with pytest.raises(RequestError) as caught:
        sampling_kwargs(SamplingParams(repetition_penalty=1.1), (7,), ignored)
    assert caught.value.what == "the sampler of this TensorRT-LLM ignores repetition_penalty"
    assert caught.value.hint == "Leave repetition_penalty out, or run a release that knows it"
    # greedy decoding is the same with any min_p
    assert sampling_kwargs(SamplingParams(min_p=0.5, presence_penalty=1.0), (7,), ignored)["presence_penalty"] == 1.0
