"""NVIDIA's llmapi model as its clients see it, with letters for an engine.

Tensors, cumulative text, numbers as strings, echo, ``str(None)``, the refusal of streaming and the words of errors are
those of TensorRT-LLM ``triton_backend/all_models/llmapi/tensorrt_llm/1/model.py`` at 0ebb153.

The completion counts upward through the alphabet from the prompt's last letter, one a token. A prompt that begins with
``?`` is answered with the inputs that came, and one that begins with ``é`` with é's of two tokens each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        self._decoupled = parameters["decoupled"]["string_value"] == "true"

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            sender = request.get_response_sender()
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            try:
                self._answer(sender, inputs)
            except (LookupError, ValueError) as error:
                response = pb_utils.InferenceResponse(
                    output_tensors=[_tensor("text_output", "N/A")],
                    error=pb_utils.TritonError(f"Error generating request: {error}"),
                )
                sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _answer(self, sender: Any, inputs: dict[str, Any]) -> None:
        if "text_input" not in inputs:
            raise ValueError("text_input is missing from the request")
        streaming = bool(_scalar(inputs, "streaming", False))
        if streaming and not self._decoupled:
            raise ValueError("Streaming is only supported in decoupled mode.")
        prompt = inputs["text_input"][0].decode()
        echo = "" if _scalar(inputs, "sampling_param_exclude_input_from_output", False) else prompt
        whole = None
        for text, finish_reason, stop_reason in _states(prompt, inputs):
            tensors = [_tensor("text_output", echo + text)]
            if _scalar(inputs, "return_finish_reason", False):
                tensors.append(_tensor("finish_reason", str(finish_reason)))
            if _scalar(inputs, "return_stop_reason", False):
                tensors.append(_tensor("stop_reason", str(stop_reason)))
            if _scalar(inputs, "return_cumulative_logprob", False):
                tensors.append(_tensor("cumulative_logprob", str(-0.5 * len(text))))
            whole = pb_utils.InferenceResponse(output_tensors=tensors)
            if streaming and finish_reason is None:
                sender.send(whole)
        sender.send(whole, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _states(prompt: str, inputs: dict[str, Any]) -> Iterator[tuple[str, str | None, str | None]]:
    """All text so far, finish reason and stop reason, after each token."""
    limit = int(_scalar(inputs, "sampling_param_max_tokens", 32))
    stops = [stop.decode() for stop in inputs.get("sampling_param_stop", ())]
    for count in range(1, limit + 1):
        text = _text(prompt, count, inputs)
        found = [stop for stop in stops if stop in text]
        if found:
            yield text[: text.index(found[0])], "stop", found[0]
            return
        ended = text == _text(prompt, count + 1, inputs)
        yield text, "stop" if ended else "length" if count == limit else None, None
        if ended:
            return


def _text(prompt: str, count: int, inputs: dict[str, Any]) -> str:
    if prompt.startswith("?"):
        shown = {name: [str(value) for value in array.flat] for name, array in inputs.items()}
        return json.dumps(shown, sort_keys=True)[: 40 * count]
    if prompt.startswith("é"):
        return "é" * (count // 2) + "\ufffd" * (count % 2)
    return "".join(chr((ord(prompt[-1]) - 97 + step) % 26 + 97) for step in range(1, count + 1))


def _scalar(inputs: dict[str, Any], name: str, otherwise: Any) -> Any:
    if name not in inputs:
        return otherwise
    if inputs[name].size != 1:
        raise ValueError(f"Expected a scalar tensor for tensor {name}")
    return inputs[name].item(0)


def _tensor(name: str, value: str) -> Any:
    return pb_utils.Tensor(name, np.array([value.encode()], np.object_))
