"""The tensor contract of the served model: inputs for the model and the client, all of it for the test of config.pbtxt.

NVIDIA's llmapi names (TensorRT-LLM ``triton_backend/all_models/llmapi``), the aliases that its ensemble uses and load
generators insist on, and what both lack: token ids in and out, token counts and times. The model has no batch dimension
(``max_batch_size: 0``), so a scalar has shape [1]. Of the names of one input a request may use one. Inputs of those
models that are not served stand in ``toolkit.serving.unsupported``. Outputs are sent in the declared datatype, which
NVIDIA's model does for text alone.

Every input is optional for Triton, whose own check of required inputs is unreliable; ``toolkit.serving.inputs`` checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.engine.runtime.sampling import RANGES
from toolkit.engine.text import MAX_STOPS

Datatype = Literal["BOOL", "BYTES", "UINT8", "INT32", "INT64", "UINT64", "FP16", "FP32"]
"""Datatypes of the KServe protocol, as they stand on the wire."""

MAX_STOP_TOKENS = 1024
MAX_LOGPROBS = 1024
"""An answer that is not streamed is held whole, with so many log-probabilities a token."""

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
TOKEN_OR_NONE = Range(lambda value: value >= -1, "a token id, or -1 for none")
LOGPROBS = Range(lambda value: 0 <= value <= MAX_LOGPROBS, f"between 0 and {MAX_LOGPROBS}")
TEXT_MODE = Range(lambda value: value in ("delta", "cumulative"), "'delta' or 'cumulative'")


@dataclass(frozen=True, slots=True)
class Input:
    """One input under its names; the first is the one that the client sends.

    ``many`` means shape [-1], not [1]; such an input has at most ``most`` elements, or as many as fit into the context.
    """

    key: str
    names: tuple[str, ...]
    datatype: Datatype
    range: Range = ANY
    many: bool = False
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """One output; ``rank`` 2 has one row a token."""

    name: str
    datatype: Datatype
    rank: int = 1


def _sampling(
    field: str, datatype: Datatype, *, extra: tuple[str, ...] = (), many: bool = False, most: int | None = None
) -> Input:
    allowed = RANGES.get(field)
    named = ANY if allowed is None else Range(allowed.__contains__, str(allowed))
    return Input(field, (f"sampling_param_{field}", field, *extra), datatype, named, many, most)


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
    _sampling("stop_token_ids", "INT32", many=True, most=MAX_STOP_TOKENS),
    _sampling("ignore_eos", "BOOL"),
    Input("logprobs", ("sampling_param_logprobs", "logprobs"), "INT32", LOGPROBS),
)
"""One a field of ``SamplingParams``, under its name as key and with its range; that of ``logprobs`` is narrower."""

RETURN_INPUTS = (
    Input("finish_reason", ("return_finish_reason",), "BOOL"),
    Input("stop_reason", ("return_stop_reason",), "BOOL"),
    Input("cumulative_logprob", ("return_cumulative_logprob",), "BOOL"),
    Input("output_ids", ("return_output_ids",), "BOOL"),
    Input("num_input_tokens", ("return_num_input_tokens",), "BOOL"),
    Input("num_output_tokens", ("return_num_output_tokens",), "BOOL"),
    Input("num_cached_tokens", ("return_num_cached_tokens",), "BOOL"),
    Input("response_time_ns", ("return_response_time",), "BOOL"),
    Input("output_log_probs", ("return_log_probs",), "BOOL"),
)
"""One an output that is sent when asked for, under the output's name as key."""

INPUTS = (
    Input("text_input", ("text_input",), "BYTES"),
    Input("input_ids", ("input_ids",), "INT32", NOT_NEGATIVE, many=True),
    Input("streaming", ("streaming", "stream"), "BOOL"),
    Input("cancel", ("stop",), "BOOL"),
    *SAMPLING_INPUTS,
    Input("stop", ("sampling_param_stop", "stop_words"), "BYTES", NOT_EMPTY, many=True, most=MAX_STOPS),
    Input("end_id", ("end_id",), "INT32", TOKEN_OR_NONE),
    Input(
        "exclude_input",
        ("sampling_param_exclude_input_from_output", "exclude_input_from_output", "exclude_input_in_output"),
        "BOOL",
    ),
    Input("skip_special_tokens", ("sampling_param_skip_special_tokens", "skip_special_tokens"), "BOOL"),
    Input("text_mode", ("text_mode",), "BYTES", TEXT_MODE),
    Input("perf_metrics", ("sampling_param_return_perf_metrics", "return_perf_metrics"), "BOOL"),
    *RETURN_INPUTS,
    Input("best_of", ("sampling_param_best_of",), "INT32", ONE),
    Input("num_return_sequences", ("num_return_sequences",), "INT32", ONE),
    Input("beam_width", ("beam_width",), "INT32", ONE),
    Input("length_penalty", ("length_penalty",), "FP32"),
    Input("pad_id", ("pad_id",), "INT32"),
)
"""``end_id`` is one stop token more. The last two change nothing: a request makes one sequence, and none is padded."""

_PERF: tuple[tuple[str, Datatype, str], ...] = (
    ("kv_cache_reused_block", "INT32", "kv_reused_blocks"),
    ("kv_cache_missed_block", "INT32", "kv_missed_blocks"),
    ("kv_cache_alloc_new_blocks", "INT32", "kv_new_blocks"),
    ("kv_cache_alloc_total_blocks", "INT32", "kv_total_blocks"),
    ("kv_cache_hit_rate", "FP32", "kv_hit_rate"),
    ("arrival_time_ns", "INT64", "arrival_ns"),
    ("first_scheduled_time_ns", "INT64", "first_scheduled_ns"),
    ("first_token_time_ns", "INT64", "first_token_ns"),
    ("last_token_time_ns", "INT64", "last_token_ns"),
    ("acceptance_rate", "FP32", "acceptance_rate"),
    ("total_accepted_draft_tokens", "INT32", "accepted_draft_tokens"),
    ("total_draft_tokens", "INT32", "draft_tokens"),
)

PERF_OUTPUTS = {name: field for name, _, field in _PERF}
"""NVIDIA's name of each output that ``return_perf_metrics`` asks for → field of ``PerfMetrics``."""

OUTPUTS = (
    Output("text_output", "BYTES"),
    Output("output_ids", "INT32"),
    Output("finish_reason", "BYTES"),
    Output("stop_reason", "BYTES"),
    Output("num_input_tokens", "INT32"),
    Output("num_output_tokens", "INT32"),
    Output("num_cached_tokens", "INT32"),
    Output("response_time_ns", "INT64"),
    Output("cumulative_logprob", "FP32"),
    Output("output_log_probs", "FP32"),
    Output("output_top_ids", "INT32", rank=2),
    Output("output_top_log_probs", "FP32", rank=2),
    *(Output(name, datatype) for name, datatype, _ in _PERF),
)
