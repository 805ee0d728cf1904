"""The tensor contract of the served model: inputs for the model and the client, all of it for the test of config.pbtxt.

NVIDIA's llmapi names (TensorRT-LLM ``triton_backend/all_models/llmapi``), the aliases that its ensemble uses and load
generators insist on, and what both lack: token ids in and out and token counts. The model has no batch dimension
(``max_batch_size: 0``), so a scalar has shape [1]. Of the names of one input a request may use one.

Every input is optional for Triton, whose own check of required inputs is unreliable; ``toolkit.serving.inputs`` checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.engine.runtime.sampling import RANGES

Datatype = Literal["BOOL", "BYTES", "INT32", "UINT64", "FP32"]
"""Datatypes of the KServe protocol, as they stand on the wire."""


QUEUE_FULL = "the queue is full"
"""How the refusal begins that may be another answer later; error messages on a stream carry no code."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which values an input may have, and how to say so."""

    accepts: Callable[[Any], bool]
    must_be: str


ANY = Range(lambda _: True, "")
NOT_NEGATIVE = Range(lambda value: value >= 0, "at least 0")
NOT_EMPTY = Range(bool, "not empty")
ONE = Range(lambda value: value == 1, "1: a request makes one sequence")
FALSE = Range(lambda value: not value, "false: there are no such metrics")
TEXT_MODE = Range(lambda value: value in ("delta", "cumulative"), "'delta' or 'cumulative'")


@dataclass(frozen=True, slots=True)
class Input:
    """One input under its names; the first is the one that the client sends. ``many`` means shape [-1], not [1]."""

    key: str
    names: tuple[str, ...]
    datatype: Datatype
    range: Range = ANY
    many: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """One output; ``rank`` 2 has one row a token."""

    name: str
    datatype: Datatype
    rank: int = 1


def _sampling(field: str, datatype: Datatype, *, extra: tuple[str, ...] = (), many: bool = False) -> Input:
    allowed = RANGES.get(field)
    named = ANY if allowed is None else Range(allowed.__contains__, str(allowed))
    return Input(field, (f"sampling_param_{field}", field, *extra), datatype, named, many)


SAMPLING_INPUTS = (
    _sampling("max_tokens", "INT32"),
    _sampling("min_tokens", "INT32", extra=("min_length",)),
    _sampling("temperature", "FP32"),
    _sampling("top_k", "INT32"),
    _sampling("top_p", "FP32"),
    _sampling("min_p", "FP32"),
    _sampling("seed", "UINT64"),
    _sampling("repetition_penalty", "FP32"),
    _sampling("presence_penalty", "FP32"),
    _sampling("frequency_penalty", "FP32"),
    _sampling("stop_token_ids", "INT32", many=True),
    _sampling("ignore_eos", "BOOL"),
    _sampling("logprobs", "INT32"),
)
"""One a field of ``SamplingParams``, under the field's name as key and with its range."""

RETURN_INPUTS = (
    Input("finish_reason", ("return_finish_reason",), "BOOL"),
    Input("stop_reason", ("return_stop_reason",), "BOOL"),
    Input("cumulative_logprob", ("return_cumulative_logprob",), "BOOL"),
    Input("output_ids", ("return_output_ids",), "BOOL"),
    Input("num_input_tokens", ("return_num_input_tokens",), "BOOL"),
    Input("num_output_tokens", ("return_num_output_tokens",), "BOOL"),
    Input("output_log_probs", ("return_log_probs",), "BOOL"),
)
"""One an output that is sent when asked for, under the output's name as key."""

INPUTS = (
    Input("text_input", ("text_input",), "BYTES"),
    Input("input_ids", ("input_ids",), "INT32", NOT_NEGATIVE, many=True),
    Input("streaming", ("streaming", "stream"), "BOOL"),
    *SAMPLING_INPUTS,
    Input("stop", ("sampling_param_stop", "stop_words"), "BYTES", NOT_EMPTY, many=True),
    Input(
        "exclude_input",
        ("sampling_param_exclude_input_from_output", "exclude_input_from_output", "exclude_input_in_output"),
        "BOOL",
    ),
    Input("skip_special_tokens", ("sampling_param_skip_special_tokens", "skip_special_tokens"), "BOOL"),
    Input("text_mode", ("text_mode",), "BYTES", TEXT_MODE),
    Input("best_of", ("sampling_param_best_of",), "INT32", ONE),
    Input("return_perf_metrics", ("sampling_param_return_perf_metrics",), "BOOL", FALSE),
    *RETURN_INPUTS,
)

OUTPUTS = (
    Output("text_output", "BYTES"),
    Output("output_ids", "INT32"),
    Output("finish_reason", "BYTES"),
    Output("stop_reason", "BYTES"),
    Output("num_input_tokens", "INT32"),
    Output("num_output_tokens", "INT32"),
    Output("cumulative_logprob", "FP32"),
    Output("output_log_probs", "FP32"),
    Output("output_top_ids", "INT32", rank=2),
    Output("output_top_log_probs", "FP32", rank=2),
)
