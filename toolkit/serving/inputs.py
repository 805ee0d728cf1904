"""Input tensors of one Triton request → what to generate. Pure; every refusal names the tensor."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import RequestError
from toolkit.serving.tensors import INPUTS, RETURN_INPUTS, SAMPLING_INPUTS, Input
from toolkit.serving.unsupported import refuse

Tensors = Mapping[str, npt.NDArray[Any]]

MAX_TOKEN_BYTES = 256
"""No vocabulary has longer tokens, so text beyond this many bytes for each token of the context cannot fit."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """One checked request: exactly one of ``text`` and ``token_ids`` is there, or ``cancel`` is set and nothing else.

    ``returns`` names the optional outputs that were asked for. ``echo`` puts the prompt before the completion, which
    is NVIDIA's default.
    """

    text: str | None
    token_ids: tuple[int, ...] | None
    sampling: SamplingParams
    streaming: bool = False
    stop: tuple[str, ...] = ()
    echo: bool = True
    skip_special_tokens: bool = True
    cumulative_text: bool = False
    token_logprobs: bool = False
    perf_metrics: bool = False
    returns: frozenset[str] = frozenset()
    cancel: bool = False


def parse(tensors: Tensors, *, max_seq_len: int = sys.maxsize) -> Inputs:
    """Check the input tensors of one request (name → array as Triton hands it over) to a model with that context.

    Raises ``RequestError`` that names the tensor for one that is too large (before its elements are looked at), a value
    out of range, text that is not UTF-8, two names of one input, something that the model does not have, and for both
    or none of ``text_input`` and ``input_ids``.
    """
    values: dict[str, Any] = {}
    for spec in INPUTS:
        given = [name for name in spec.names if name in tensors]
        if len(given) > 1:
            raise RequestError(f"inputs {given[0]!r} and {given[1]!r} mean the same: send one of them")
        if given:
            values[spec.key] = _value(given[0], spec, tensors[given[0]], max_seq_len)
    refuse(tensors)
    if values.get("cancel"):
        return Inputs(None, None, SamplingParams(), cancel=True)
    if ("text_input" in values) == ("input_ids" in values):
        raise RequestError("send exactly one of the inputs 'text_input' and 'input_ids'")
    return Inputs(
        text=values.get("text_input"),
        token_ids=values.get("input_ids"),
        sampling=_sampling(values),
        streaming=values.get("streaming", False),
        stop=values.get("stop", ()),
        echo=not values.get("exclude_input", False),
        skip_special_tokens=values.get("skip_special_tokens", True),
        cumulative_text=values.get("text_mode") == "cumulative",
        token_logprobs="logprobs" in values or values.get("output_log_probs", False),
        perf_metrics=values.get("perf_metrics", False),
        returns=frozenset(spec.key for spec in RETURN_INPUTS if values.get(spec.key)),
    )


def _sampling(values: Mapping[str, Any]) -> SamplingParams:
    fields = {spec.key: values[spec.key] for spec in SAMPLING_INPUTS if spec.key in values}
    if "logprobs" not in fields and (values.get("output_log_probs") or values.get("cumulative_logprob")):
        fields["logprobs"] = 0
    if (end_id := values.get("end_id", -1)) >= 0:
        fields["stop_token_ids"] = (*fields.get("stop_token_ids", ()), end_id)
    sampling = SamplingParams(**fields)
    if sampling.min_tokens > sampling.max_tokens:
        raise RequestError(
            f"input 'sampling_param_min_tokens' is {sampling.min_tokens}, more than max_tokens {sampling.max_tokens}"
        )
    return sampling


def _value(name: str, spec: Input, array: npt.NDArray[Any], max_seq_len: int) -> Any:
    """The array as Python values: one of them for a [1] tensor, a tuple for a [-1] tensor."""
    _check_size(name, spec, array, max_seq_len)
    values = tuple(_text(name, item) for item in array.flat) if array.dtype == np.object_ else tuple(array.tolist())
    for value in values:
        if not spec.range.accepts(value):
            raise RequestError(f"input {name!r} is {value!r} and must be {spec.range.must_be}")
    return values if spec.many else values[0]


def _check_size(name: str, spec: Input, array: npt.NDArray[Any], max_seq_len: int) -> None:
    if not spec.many and array.size != 1:
        raise RequestError(f"input {name!r} has {array.size} elements and must have 1")
    most = max_seq_len if spec.most is None else spec.most
    if array.size > most:
        raise RequestError(f"input {name!r} has {array.size} elements and may have {most}")
    if array.dtype == np.object_:
        size, limit = sum(map(len, array.flat)), max_seq_len * MAX_TOKEN_BYTES
        if size > limit:
            what = f"input {name!r} has {size} bytes, more than fit into {max_seq_len} tokens"
            raise RequestError(what, hint="Shorten it, or build with a larger engine.max_seq_len")


def _text(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"input {name!r} is not UTF-8 at byte {error.start}") from None
