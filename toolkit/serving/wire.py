"""gRPC messages ⟷ Python values, and gRPC errors → ``ClientError``. No connection lives here.

Built on tritonclient's generated protobuf code alone: its own streaming client cannot ask for what is needed here and
leaves the end of a stream open to guesses. One RPC carries one request; its end with OK is the completion.

The header ``triton_grpc_error`` would turn error messages into gRPC codes, but is not sent: with it Triton 2.51 logs an
internal error for every failed stream, and a few requests whose BYTES tensor lies about its length end it with SIGSEGV.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from toolkit.engine.runtime.protocol import SamplingParams, TokenLogprob
from toolkit.errors import ClientError, DeadlineError, UnavailableError
from toolkit.serving.tensors import INPUTS, QUEUE_FULL, RETURN_INPUTS, Input

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)

CLIENT_RETURNS = ("finish_reason", "stop_reason", "output_ids", "num_input_tokens", "num_output_tokens")

_INPUTS = {spec.key: spec for spec in INPUTS}
_RETURNS = {spec.key: spec for spec in RETURN_INPUTS}
_DEFAULTS = SamplingParams()
_NUMPY = {"BOOL": np.bool_, "INT32": np.int32, "INT64": np.int64, "UINT64": np.uint64, "FP32": np.float32}
_LIMITS = {"INT32": (-(2**31), 2**31 - 1), "UINT64": (0, 2**64 - 1)}


@dataclass(frozen=True, slots=True)
class Chunk:
    """One response: what is new since the one before it.

    ``received_ns`` is ``time.monotonic_ns()`` when it arrived. The reasons and counts come with the last chunk only.
    """

    text: str
    token_ids: tuple[int, ...]
    received_ns: int
    finish_reason: str | None = None
    stop_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


def encode(
    model: str,
    prompt: str | Sequence[int],
    sampling: SamplingParams,
    *,
    stop: Sequence[str] = (),
    skip_special_tokens: bool = True,
    request_id: str | None = None,
) -> Any:
    """A ``ModelInferRequest`` for one streamed generation.

    Raises ``ClientError`` for a sampling parameter that its datatype cannot hold.
    """
    values: dict[str, Any] = {
        "text_input" if isinstance(prompt, str) else "input_ids": prompt,
        "streaming": True,
        "exclude_input": True,
        "skip_special_tokens": skip_special_tokens,
        "max_tokens": sampling.max_tokens,
    }
    for field in fields(sampling):
        value = getattr(sampling, field.name)
        if value != getattr(_DEFAULTS, field.name):
            values[field.name] = value
    if stop:
        values["stop"] = stop
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id or "")
    for key, value in values.items():
        _add(request, _INPUTS[key], value)
    for key in CLIENT_RETURNS:
        _add(request, _RETURNS[key], True)
    return request


def decode(message: Any, received_ns: int) -> Chunk:
    """The chunk in a ``ModelStreamInferResponse``; ``ClientError`` for an error message or an unknown datatype."""
    if message.error_message:
        raise _from_text(message.error_message)
    response = message.infer_response
    outputs = {
        output.name: _array(output.name, output.datatype, tuple(output.shape), raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    return Chunk(
        text="".join(outputs.get("text_output", ())),
        token_ids=tuple(outputs.get("output_ids", ())),
        received_ns=received_ns,
        finish_reason=_first(outputs, "finish_reason"),
        stop_reason=_first(outputs, "stop_reason") or None,
        prompt_tokens=_first(outputs, "num_input_tokens"),
        output_tokens=_first(outputs, "num_output_tokens"),
        logprobs=_logprobs(outputs),
    )


def error_from(code: grpc.StatusCode, details: str | None, url: str) -> ClientError:
    """The error that a failed RPC to ``url`` stands for."""
    text = _one_line(details or code.name.lower())
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(text, where=url)
    if code is not grpc.StatusCode.UNAVAILABLE:
        return _from_text(text)
    if "lookup" in text or "resolution" in text:
        return UnavailableError("no such host", where=url, hint="Give HOST:PORT")
    if "failed to connect" in text:
        return UnavailableError("nothing serves there", where=url, hint="Type: trtkit serve RECIPE")
    if "Socket closed" in text or "Stream removed" in text or "Connection reset" in text:
        return UnavailableError("the server went away", where=url, hint="Type: trtkit serve RECIPE")
    return UnavailableError(text, where=url)


def _from_text(text: str) -> ClientError:
    """Triton's error messages carry no code; two of them mean that another server, or this one later, may answer."""
    line = _one_line(text)
    unavailable = line.startswith(QUEUE_FULL) or "has no available versions" in line
    return UnavailableError(line) if unavailable else ClientError(line)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _add(request: Any, spec: Input, value: Any) -> None:
    items = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
    request.inputs.add(name=spec.names[0], datatype=spec.datatype, shape=[len(items)])
    request.raw_input_contents.append(_packed(spec.key, spec.datatype, items))


def _packed(name: str, datatype: str, items: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        encoded = [_utf8(name, item) for item in items]
        return b"".join(len(item).to_bytes(4, "little") + item for item in encoded)
    for item in items:
        # numpy 1 would wrap it around
        if datatype in _LIMITS and not _LIMITS[datatype][0] <= item <= _LIMITS[datatype][1]:
            raise ClientError(f"{name} is {item}, which {datatype} cannot hold")
    return np.array(items, _NUMPY[datatype]).tobytes()


def _utf8(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ClientError(f"{name} is not UTF-8 at character {error.start}") from None


def _array(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> list[Any]:
    """By the wire's datatype, not the declared one: Triton does not check that they agree."""
    if datatype == "BYTES":
        return list(_texts(raw))
    if datatype not in _NUMPY:
        raise ClientError(f"output {name!r} has the unexpected datatype {datatype!r}")
    array: npt.NDArray[Any] = np.frombuffer(raw, _NUMPY[datatype]).reshape(shape)
    values: list[Any] = array.tolist()
    return values


def _texts(raw: bytes) -> Iterable[str]:
    begin = 0
    while begin < len(raw):
        end = begin + 4 + int.from_bytes(raw[begin : begin + 4], "little")
        yield raw[begin + 4 : end].decode(errors="replace")
        begin = end


def _first(outputs: dict[str, list[Any]], name: str) -> Any:
    values = outputs.get(name)
    return values[0] if values else None


def _logprobs(outputs: dict[str, list[Any]]) -> tuple[TokenLogprob, ...]:
    chosen = outputs.get("output_log_probs")
    if chosen is None:
        return ()
    top_ids = outputs.get("output_top_ids") or [[]] * len(chosen)
    top_values = outputs.get("output_top_log_probs") or [[]] * len(chosen)
    return tuple(
        TokenLogprob(token, value, tuple(zip(ids, values, strict=True)))
        for token, value, ids, values in zip(outputs.get("output_ids", ()), chosen, top_ids, top_values, strict=True)
    )
