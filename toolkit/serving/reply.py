"""Text events of one request → output tensors of its responses. Pure; Triton is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.engine.runtime.protocol import TokenLogprob
from toolkit.engine.text import TextEvent
from toolkit.serving.inputs import Inputs

Outputs = dict[str, npt.NDArray[Any]]


class Reply:
    """Collects the events of one request and says what to send.

    A streaming request gets its first tokens at once, then a response every ``interval`` tokens; any other request gets
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
        self._sent = False

    def add(self, event: TextEvent) -> Outputs | None:
        """The output tensors to send now, if any; always some for an event with a finish reason."""
        self._text += event.text
        self._ids += event.token_ids
        self._logprobs += event.logprobs
        self._cumulative_logprob += sum(entry.logprob for entry in event.logprobs)
        if event.finish_reason is not None:
            return self._flush() | self._last(event)
        due = not self._sent or len(self._ids) >= self._interval
        return self._flush() if self._inputs.streaming and due else None

    def _flush(self) -> Outputs:
        outputs = {"text_output": _bytes(self._text)}
        if "output_ids" in self._inputs.returns:
            outputs["output_ids"] = np.array(self._ids, np.int32)
        if self._inputs.sampling.logprobs is not None:
            outputs |= _logprobs(self._logprobs, self._inputs.sampling.logprobs)
        if not self._inputs.cumulative_text:
            self._text = ""
        self._ids, self._logprobs, self._sent = [], [], True
        return outputs

    def _last(self, event: TextEvent) -> Outputs:
        everything: Outputs = {
            "finish_reason": _bytes(str(event.finish_reason)),
            "stop_reason": _bytes("" if event.stop_reason is None else str(event.stop_reason)),
            "num_input_tokens": np.array([event.prompt_tokens], np.int32),
            "num_output_tokens": np.array([event.output_tokens], np.int32),
            "cumulative_logprob": np.array([self._cumulative_logprob], np.float32),
        }
        return {name: value for name, value in everything.items() if name in self._inputs.returns}


def _bytes(text: str) -> npt.NDArray[Any]:
    return np.array([text.encode()], np.object_)


def _logprobs(entries: Sequence[TokenLogprob], top: int) -> Outputs:
    """[tokens] of the chosen tokens and, for ``top`` > 0, [tokens, top] of the most likely ones."""
    outputs: Outputs = {"output_log_probs": np.array([entry.logprob for entry in entries], np.float32)}
    if top:
        outputs["output_top_ids"] = np.array(
            [[token for token, _ in entry.top] for entry in entries], np.int32
        ).reshape(-1, top)
        outputs["output_top_log_probs"] = np.array(
            [[value for _, value in entry.top] for entry in entries], np.float32
        ).reshape(-1, top)
    return outputs
