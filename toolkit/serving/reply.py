"""Text events of one request → output tensors of its responses. Pure; Triton is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.engine.runtime.protocol import PerfMetrics, TokenLogprob
from toolkit.engine.text import TextEvent
from toolkit.serving.inputs import Inputs
from toolkit.serving.tensors import OUTPUTS, PERF_OUTPUTS

Outputs = dict[str, npt.NDArray[Any]]

_NUMPY = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32}
_DATATYPES = {output.name: output.datatype for output in OUTPUTS}


class Reply:
    """Collects the events of one request until they are taken for a response.

    Of a streaming request the first tokens are due at once and later ones once there are ``interval``; any other gets
    one response with everything. What ends a generation and what it counted comes with the last response.
    """

    def __init__(self, inputs: Inputs, *, prompt: str = "", interval: int = 1) -> None:
        """``prompt`` is put before the completion when the request asks for an echo."""
        self._inputs = inputs
        self._text = prompt if inputs.echo else ""
        self._interval = interval
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._cumulative_logprob = 0.0
        self._time_ns = 0
        self._sent = False

    def add(self, event: TextEvent) -> None:
        self._text += event.text
        self._ids += event.token_ids
        self._logprobs += event.logprobs
        self._cumulative_logprob += sum(entry.logprob for entry in event.logprobs)
        self._time_ns = event.time_ns

    @property
    def begun(self) -> bool:
        """Whether a response was taken already."""
        return self._sent

    @property
    def holds(self) -> bool:
        """Whether a response could be sent now."""
        return self._inputs.streaming and bool(self._ids)

    @property
    def due(self) -> bool:
        """Whether a response should be sent now."""
        return self.holds and (not self._sent or len(self._ids) >= self._interval)

    def take(self) -> Outputs:
        """What was added since the last call, as output tensors."""
        outputs = {"text_output": _bytes(self._text)}
        if "output_ids" in self._inputs.returns:
            outputs["output_ids"] = np.array(self._ids, np.int32)
        if "response_time_ns" in self._inputs.returns:
            outputs["response_time_ns"] = _number("response_time_ns", self._time_ns)
        if self._inputs.token_logprobs:
            outputs |= _logprobs(self._logprobs, self._inputs.sampling.logprobs or 0)
        if not self._inputs.cumulative_text:
            self._text = ""
        self._ids, self._logprobs, self._sent = [], [], True
        return outputs

    def take_last(self, event: TextEvent) -> Outputs:
        """``take`` and what the last event, already added, says of the whole."""
        everything: Outputs = {
            "finish_reason": _bytes(str(event.finish_reason)),
            "stop_reason": _bytes("" if event.stop_reason is None else str(event.stop_reason)),
            "num_input_tokens": _number("num_input_tokens", event.prompt_tokens),
            "num_output_tokens": _number("num_output_tokens", event.output_tokens),
            "cumulative_logprob": _number("cumulative_logprob", self._cumulative_logprob),
        }
        if event.cached_tokens is not None:
            everything["num_cached_tokens"] = _number("num_cached_tokens", event.cached_tokens)
        asked = {name: value for name, value in everything.items() if name in self._inputs.returns}
        measured = _perf(event.perf) if self._inputs.perf_metrics and event.perf is not None else {}
        return self.take() | asked | measured


def _bytes(text: str) -> npt.NDArray[Any]:
    return np.array([text.encode()], np.object_)


def _number(name: str, value: float) -> npt.NDArray[Any]:
    return np.array([value], _NUMPY[_DATATYPES[name]])


def _perf(perf: PerfMetrics) -> Outputs:
    """What the runtime measured; an output for which it has no figure is not sent."""
    values = {name: getattr(perf, field) for name, field in PERF_OUTPUTS.items()}
    return {name: _number(name, value) for name, value in values.items() if value is not None}


def _logprobs(entries: Sequence[TokenLogprob], top: int) -> Outputs:
    """[tokens] of the chosen tokens and, for ``top`` > 0, [tokens, top] of the most likely ones.

    Where the runtime names fewer, the rest of a row is token -1 with NaN.
    """
    outputs: Outputs = {"output_log_probs": np.array([entry.logprob for entry in entries], np.float32)}
    if top:
        outputs["output_top_ids"] = np.full((len(entries), top), -1, np.int32)
        outputs["output_top_log_probs"] = np.full((len(entries), top), np.nan, np.float32)
        for row, entry in enumerate(entries):
            for column, (token, value) in enumerate(entry.top[:top]):
                outputs["output_top_ids"][row, column] = token
                outputs["output_top_log_probs"][row, column] = value
    return outputs
