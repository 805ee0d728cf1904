"""gRPC messages ⟷ Python values. No connection lives here.

Built on tritonclient's generated protobuf code alone: its own streaming client cannot ask for what is needed here and
leaves the end of a stream open to guesses. One RPC carries one request; its end with OK is the completion.

The header ``triton_grpc_error`` would turn error messages into gRPC codes, but is not sent: with it Triton 2.51 logs an
internal error for every failed stream, and a few requests whose BYTES tensor lies about its length end it with SIGSEGV.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from toolkit.engine.runtime.protocol import SamplingParams, TokenLogprob
from toolkit.errors import ClientError
from toolkit.serving.contract import Contract, Tensor, own
from toolkit.serving.failures import error_from_text

_DEFAULTS = SamplingParams()
_NUMPY: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP32": np.float32,
    "FP64": np.float64,
}
_LETTERS: dict[str, tuple[Any, int]] = {
    datatype: (np.dtype(kind).char, np.dtype(kind).itemsize) for datatype, kind in _NUMPY.items()
}
"""Of each datatype: the letter that the ``struct`` module has for it, and its bytes."""
_READ = frozenset(
    (
        "text_output",
        "output_ids",
        "finish_reason",
        "stop_reason",
        "num_input_tokens",
        "num_output_tokens",
        "num_cached_tokens",
        "response_time_ns",
        "output_log_probs",
        "output_top_ids",
        "output_top_log_probs",
    )
)
"""Outputs that become part of a chunk; whatever else a model sends is not looked at."""
_EACH = frozenset(("text_output", "output_ids", "response_time_ns"))
"""Those that our model sends with every response; most have no others."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One response: what is new since the one before it.

    ``received_ns`` is ``time.monotonic_ns()`` when it arrived; ``response_time_ns`` is the server's, when its engine
    had made the newest token of it. The reasons and counts come with the last chunk at the latest; None is what the
    model does not say. ``cached_tokens`` are the prompt's that the engine had keys and values of.
    """

    text: str
    token_ids: tuple[int, ...]
    received_ns: int
    finish_reason: str | None = None
    stop_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int | None = None
    response_time_ns: int | None = None


def asked(
    prompt: str | Sequence[int], sampling: SamplingParams, stop: Sequence[str] = (), skip_special_tokens: bool = True
) -> dict[str, Any]:
    """What a request asks for beyond the defaults, by key of ``toolkit.serving.tensors``."""
    values: dict[str, Any] = {"text_input" if isinstance(prompt, str) else "input_ids": prompt}
    for field in fields(sampling):
        value = getattr(sampling, field.name)
        if value != getattr(_DEFAULTS, field.name):
            values[field.name] = value
    if stop:
        values["stop"] = stop
    if not skip_special_tokens:
        values["skip_special_tokens"] = False
    return values


def encode(
    model: str,
    prompt: str | Sequence[int],
    sampling: SamplingParams,
    *,
    stop: Sequence[str] = (),
    skip_special_tokens: bool = True,
    request_id: str | None = None,
    contract: Contract | None = None,
) -> Any:
    """A ``ModelInferRequest`` for one generation, streamed if the model can; ``contract`` None stands for our own.

    Raises ``UnsupportedError`` for what the model has no input for, and ``ClientError`` for a value that its datatype
    cannot hold.
    """
    contract = contract or own(model)
    values = asked(prompt, sampling, stop, skip_special_tokens)
    values |= {"streaming": contract.streams, "exclude_input": True, "max_tokens": sampling.max_tokens}
    if contract.kind != "trtkit":
        values |= _greedy_or_not(sampling)
    contract.refuse(values)
    if "skip_special_tokens" in contract.inputs:
        values["skip_special_tokens"] = skip_special_tokens
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id or "")
    for key, value in values.items():
        _add(request, key, contract.inputs[key], value, contract.batched)
    for key, tensor in contract.returns.items():
        _add(request, key, tensor, True, contract.batched)
    return request


def _greedy_or_not(sampling: SamplingParams) -> dict[str, Any]:
    """Other models have other defaults, and TensorRT-LLM's depend on which of the three are given: so all are.

    A temperature of 0 is an error for some of its versions; ``top_k`` 1 means greedy to all of them.
    """
    if sampling.temperature == 0:
        return {"top_k": 1}
    return {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}


def decode(message: Any, received_ns: int) -> Chunk:
    """The chunk in a ``ModelStreamInferResponse``; ``ClientError`` for an error message or a malformed tensor."""
    if message.error_message:
        raise error_from_text(message.error_message)
    response = message.infer_response
    declared, contents = response.outputs, response.raw_output_contents
    if len(declared) != len(contents):
        raise ClientError(f"{len(declared)} outputs came with {len(contents)} contents")
    outputs = {
        name: _array(name, output, raw)
        for output, raw in zip(declared, contents, strict=True)
        if (name := output.name) in _READ
    }
    if outputs.keys() <= _EACH:
        text, ids = outputs.get("text_output", ()), outputs.get("output_ids", ())
        return Chunk("".join(text), tuple(ids), received_ns, response_time_ns=_number(outputs, "response_time_ns"))
    return Chunk(
        text="".join(outputs.get("text_output", ())),
        token_ids=tuple(outputs.get("output_ids", ())),
        received_ns=received_ns,
        finish_reason=_first(outputs, "finish_reason"),
        stop_reason=_first(outputs, "stop_reason") or None,
        prompt_tokens=_number(outputs, "num_input_tokens"),
        output_tokens=_number(outputs, "num_output_tokens"),
        logprobs=_logprobs(outputs),
        cached_tokens=_number(outputs, "num_cached_tokens"),
        response_time_ns=_number(outputs, "response_time_ns"),
    )


def _add(request: Any, key: str, tensor: Tensor, value: Any, batched: bool) -> None:
    items = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=[1, len(items)] if batched else [len(items)])
    request.raw_input_contents.append(_packed(key, tensor.datatype, items))


def _packed(name: str, datatype: str, items: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        encoded = [_utf8(name, item) for item in items]
        return b"".join(len(item).to_bytes(4, "little") + item for item in encoded)
    if datatype not in _NUMPY:
        raise ClientError(f"the model takes {name} as {datatype}, which this client cannot send")
    kind = _NUMPY[datatype]
    if issubclass(kind, np.integer):
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        for item in items:
            # numpy 1 would wrap it around, and cut what is no integer
            if not isinstance(item, int | np.integer) or not low <= item <= high:
                raise ClientError(f"{name} is {reprlib.repr(item)}, which {datatype} cannot hold")
    return np.array(items, kind).tobytes()


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ClientError(f"{name} is not UTF-8 at character {error.start}") from None


def _array(name: str, output: Any, raw: bytes) -> list[Any]:
    """By the wire's datatype, not the declared one: Triton does not check that they agree."""
    datatype = output.datatype
    if datatype == "BYTES":
        if int.from_bytes(raw[:4], "little") + 4 == len(raw):  # one element, as nearly always
            return [raw[4:].decode(errors="replace")]
        return list(_texts(name, raw))
    letter, size = _LETTERS.get(datatype, ("", 0))
    if not size:
        raise ClientError(f"output {name!r} has the unexpected datatype {datatype!r}")
    shape = output.shape
    if len(shape) == 1 and shape[0] * size == len(raw):
        # one dimension, as nearly always: NumPy would take four times as long
        flat: list[Any] = memoryview(raw).cast(letter).tolist()
        return flat
    try:
        array: npt.NDArray[Any] = np.frombuffer(raw, _NUMPY[datatype]).reshape(tuple(shape))
    except ValueError:
        raise ClientError(f"output {name!r} has {len(raw)} bytes, which do not fit its shape {list(shape)}") from None
    if name != "output_ids" and not name.startswith("output_top"):
        array = array.reshape(-1)  # some have a batch dimension
    values: list[Any] = array.tolist()
    return values


def _texts(name: str, raw: bytes) -> Iterable[str]:
    begin = 0
    while begin < len(raw):
        end = begin + 4 + int.from_bytes(raw[begin : begin + 4], "little")
        if end > len(raw):
            raise ClientError(f"output {name!r} ends inside an element")
        yield raw[begin + 4 : end].decode(errors="replace")
        begin = end


def _first(outputs: dict[str, list[Any]], name: str) -> Any:
    values = outputs.get(name)
    return values[0] if values else None


def _number(outputs: dict[str, list[Any]], name: str) -> int | None:
    """llmapi sends numbers as text."""
    value = _first(outputs, name)
    try:
        return None if value is None else int(value)
    except ValueError:
        raise ClientError(f"output {name!r} is {value!r} and no number") from None


def _logprobs(outputs: dict[str, list[Any]]) -> tuple[TokenLogprob, ...]:
    """One a token id; -1 fills up rows. An ensemble sends the tensor unasked, without saying whose it is."""
    ids, chosen = outputs.get("output_ids"), outputs.get("output_log_probs")
    if ids is None or chosen is None:
        return ()
    top_ids = outputs.get("output_top_ids") or [[]] * len(chosen)
    top_values = outputs.get("output_top_log_probs") or [[]] * len(chosen)
    sizes = {len(ids), len(chosen), len(top_ids), len(top_values)}
    if len(sizes) > 1 or any(len(row) != len(values) for row, values in zip(top_ids, top_values, strict=True)):
        raise ClientError(f"the log-probabilities of {len(ids)} tokens do not fit them")
    return tuple(
        TokenLogprob(token, value, tuple((other, its) for other, its in zip(others, values, strict=True) if other >= 0))
        for token, value, others, values in zip(ids, chosen, top_ids, top_values, strict=True)
    )
