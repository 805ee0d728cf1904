"""What a served model takes and sends, read from its configuration: trtkit's own contract or one of NVIDIA's two.

NVIDIA's: ``llmapi`` (TensorRT-LLM ``triton_backend/all_models/llmapi``: no batch dimension, cumulative text) and
``ensemble`` (``all_models/inflight_batcher_llm``, its ``tensorrt_llm_bls`` included: shapes [1, n], deltas).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tritonclient.grpc import model_config_pb2

from toolkit.errors import ClientError, UnsupportedError
from toolkit.serving.tensors import INPUTS

Kind = Literal["trtkit", "llmapi", "ensemble"]

RETURNS = (
    "finish_reason",
    "stop_reason",
    "output_ids",
    "num_input_tokens",
    "num_output_tokens",
    "num_cached_tokens",
    "response_time_ns",
)
"""Keys of the optional outputs that the client asks for where the model has them."""

# inputs without which a model does not follow the contract
_SIGNS: dict[Kind, frozenset[str]] = {
    "llmapi": frozenset(
        ("text_input", "streaming", "sampling_param_max_tokens", "sampling_param_exclude_input_from_output")
    ),
    "ensemble": frozenset(("text_input", "stream", "max_tokens", "exclude_input_in_output")),
}
_TRUE = ("true", "yes", "1", "t")  # what tensorrt_llm_bls takes for accumulate_tokens
_WORDS = {"input_ids": "token ids as a prompt, only text", "stop": "stop strings"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Name and datatype of an input, as they stand on the wire."""

    name: str
    datatype: str


@dataclass(frozen=True, slots=True)
class Contract:
    """``inputs`` and ``returns`` are by key of ``toolkit.serving.tensors``, those that the model has.

    ``batched`` tensors have a leading dimension of 1. A ``cumulative`` model sends all text so far with each response.
    One that does not ``stream`` answers once.
    """

    model: str
    kind: Kind
    inputs: Mapping[str, Tensor]
    returns: Mapping[str, Tensor]
    batched: bool = False
    cumulative: bool = False
    streams: bool = True

    def refuse(self, keys: Iterable[str]) -> None:
        """Raise ``UnsupportedError``, naming it, for the first of ``keys`` that the model has no input for."""
        for key in keys:
            if key not in self.inputs:
                raise UnsupportedError(f"model {self.model!r} takes no {_WORDS.get(key, key)}", hint="Leave it out")


def own(model: str) -> Contract:
    """The contract of trtkit's served model as this version writes it."""
    inputs = {spec.key: Tensor(spec.names[0], spec.datatype) for spec in INPUTS}
    return Contract(model, "trtkit", inputs, {key: inputs[key] for key in RETURNS if key in inputs})


def contract_of(config: Any) -> Contract:
    """Read a ``ModelConfig``. Raises ``UnsupportedError`` for a model of no contract that this client knows."""
    declared = {tensor.name: _datatype(tensor.data_type) for tensor in config.input}
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    kind = _kind(config.name, declared, parameters)
    inputs = {
        spec.key: Tensor(name, declared[name])
        for spec in INPUTS
        for name in reversed(spec.names)  # so that the first of the names wins
        if name in declared
    }
    returned = {tensor.name for tensor in config.output}
    returns = {key: inputs[key] for key in RETURNS if key in inputs and key in returned}
    _check_required(config, kind, {tensor.name for tensor in inputs.values()})
    cumulative = {
        "trtkit": parameters.get("text_mode") == "cumulative",
        "llmapi": True,
        "ensemble": parameters.get("accumulate_tokens", "").lower() in _TRUE,
    }
    # an ensemble has no policy of its own: that of the models in it counts
    streams = kind != "llmapi" or config.model_transaction_policy.decoupled
    return Contract(config.name, kind, inputs, returns, config.max_batch_size > 0, cumulative[kind], streams)


def _kind(model: str, declared: Mapping[str, str], parameters: Mapping[str, str]) -> Kind:
    if "text_mode" in parameters and {"text_input", "input_ids"} <= declared.keys():
        return "trtkit"
    for kind, signs in _SIGNS.items():
        if signs <= declared.keys():
            return kind
    raise UnsupportedError(
        f"model {model!r} has neither trtkit's inputs nor those of NVIDIA's llmapi or ensemble model",
        hint=f"Its inputs: {', '.join(declared) or 'none'}",
    )


def _check_required(config: Any, kind: Kind, known: set[str]) -> None:
    """Of the names of one input the model may require another than the client sends; ours are all optional."""
    if kind == "trtkit":
        return
    for tensor in config.input:
        if not tensor.optional and tensor.name not in known:
            raise UnsupportedError(f"model {config.name!r} requires the input {tensor.name!r}, which is unknown here")


def _datatype(number: int) -> str:
    try:
        name = model_config_pb2.DataType.Name(number).removeprefix("TYPE_")
    except ValueError:
        raise ClientError(f"the model's configuration has the unknown datatype {number}") from None
    return "BYTES" if name == "STRING" else name
