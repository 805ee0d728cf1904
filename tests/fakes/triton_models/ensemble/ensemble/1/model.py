"""NVIDIA's ensemble as its clients see it, with letters for an engine.

Tensors, deltas, the leading batch dimension, counts for each response, tensors nobody asked for and the empty final
response are those of TensorRT-LLM ``triton_backend/all_models/inflight_batcher_llm``. The completion is that of the
llmapi replica.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            sender = request.get_response_sender()
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            try:
                _answer(sender, inputs)
            except (LookupError, ValueError) as error:
                sender.send(
                    pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error))),
                    flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
                )
            else:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _answer(sender: Any, inputs: dict[str, Any]) -> None:
    for name, array in inputs.items():
        if array.ndim != 2 or array.shape[0] != 1:
            raise ValueError(f"{name} has shape {list(array.shape)}")
    if "text_input" not in inputs or "max_tokens" not in inputs:
        raise ValueError("text_input and max_tokens are needed")
    prompt = inputs["text_input"].item(0).decode()
    tokens = _tokens(prompt, inputs)
    if not (inputs.get("exclude_input_in_output") is not None and inputs["exclude_input_in_output"].item(0)):
        tokens = [prompt, *tokens]
    streams = "stream" in inputs and bool(inputs["stream"].item(0))
    for piece in tokens if streams else ["".join(tokens)]:
        sender.send(_response(piece, 1 if streams else len(tokens), prompt, inputs))


def _tokens(prompt: str, inputs: dict[str, Any]) -> list[str]:
    limit = int(inputs["max_tokens"].item(0))
    if prompt.startswith("?"):
        shown = json.dumps(
            {name: [str(value) for value in array.flat] for name, array in inputs.items()}, sort_keys=True
        )
        return [shown[begin : begin + 40] for begin in range(0, len(shown), 40)][:limit]
    stops = [stop.decode() for stop in inputs["stop_words"].flat] if "stop_words" in inputs else []
    tokens: list[str] = []
    for step in range(1, limit + 1):
        tokens.append(chr((ord(prompt[-1]) - 97 + step) % 26 + 97))
        if any("".join(tokens).endswith(stop) for stop in stops):
            break
    return tokens


def _response(text: str, tokens: int, prompt: str, inputs: dict[str, Any]) -> Any:
    tensors = [
        pb_utils.Tensor("text_output", np.array([text.encode()], np.object_)),
        pb_utils.Tensor("cum_log_probs", np.zeros((1, 1), np.float32)),
        pb_utils.Tensor("output_log_probs", np.zeros((1, 1, tokens), np.float32)),
        pb_utils.Tensor("context_logits", np.zeros((1, 1, 1), np.float16)),
        pb_utils.Tensor("generation_logits", np.zeros((1, 1, 1, 1), np.float16)),
        pb_utils.Tensor("batch_index", np.zeros((1, 1), np.int32)),
        pb_utils.Tensor("sequence_index", np.zeros((1, 1), np.int32)),
    ]
    for name, count in (("num_input_tokens", len(prompt)), ("num_output_tokens", tokens)):
        asked = inputs.get(f"return_{name}")
        if asked is not None and asked.item(0):
            tensors.append(pb_utils.Tensor(name, np.array([[count]], np.int32)))
    return pb_utils.InferenceResponse(output_tensors=tensors)
