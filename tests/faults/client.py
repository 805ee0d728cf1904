"""A client that shares nothing with trtkit's: tritonclient's generated stubs, plain sockets, requests made by hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

MODEL = "tensorrt_llm"
FOREVER = 2**31 - 1
LIMIT_S = 30.0
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_NUMPY = {"INT32": np.int32, "FP32": np.float32, "BOOL": np.bool_, "FP16": np.float16}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input exactly as it goes out, whether that makes sense or not."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


def tensor(name: str, datatype: str, *values: Any, shape: tuple[int, ...] | None = None) -> Tensor:
    """A well-formed tensor of ``values``, rank 1 unless ``shape`` says otherwise."""
    if datatype == "BYTES":
        raw = b"".join(packed(value if isinstance(value, bytes) else value.encode()) for value in values)
    else:
        raw = np.array(values, _NUMPY[datatype]).tobytes()
    return Tensor(name, datatype, (len(values),) if shape is None else shape, raw)


def packed(value: bytes) -> bytes:
    return len(value).to_bytes(4, "little") + value


def prompt(text: str | list[int], max_tokens: int, *, stream: bool = True) -> tuple[Tensor, ...]:
    """A streamed request for ids; ``ignore_eos`` keeps it going."""
    words = tensor("text_input", "BYTES", text) if isinstance(text, str) else tensor("input_ids", "INT32", *text)
    yes = ("stream", "ignore_eos", "exclude_input_in_output", "return_output_ids", "return_finish_reason")
    wanted = (tensor(name, "BOOL", True) for name in yes if stream or name != "stream")
    return (words, tensor("max_tokens", "INT32", max_tokens), *wanted)


def request(tensors: Iterable[Tensor], *, model: str = MODEL, request_id: str = "") -> Any:
    made = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    for one in tensors:
        made.inputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        made.raw_input_contents.append(one.raw)
    return made


@contextmanager
def connection(url: str, *options: tuple[str, Any]) -> Iterator[Any]:
    with grpc.insecure_channel(url, options=(*OPTIONS, *options)) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def send(url: str, *requests: Any, limit_s: float = LIMIT_S) -> list[Any]:
    """All messages that ``requests``, on one RPC, are answered with."""
    with connection(url) as stub:
        return list(stub.ModelStreamInfer(iter(requests), timeout=limit_s))


def ask(url: str, text: str | list[int], max_tokens: int = 2) -> list[int]:
    """The token ids of one whole answer."""
    messages = send(url, request(prompt(text, max_tokens)))
    assert not any(message.error_message for message in messages), messages
    return [token for message in messages for token in ids(message)]


def ids(message: Any) -> list[int]:
    response = message.infer_response
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.name == "output_ids":
            return [int(token) for token in np.frombuffer(raw, np.int32)]
    return []


def text(message: Any, name: str) -> str | None:
    response = message.infer_response
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.name == name:
            return str(raw[4:].decode())
    return None


class Stream:
    """One stream, read by a thread of its own until it ends; ``error`` says how, None for OK."""

    opened: ClassVar[list[Stream]] = []
    """All of them, so that none outlives a test that fails."""

    def __init__(self, url: str, text: str | list[int], max_tokens: int, *, limit_s: float | None = None) -> None:
        self.tokens: list[int] = []
        self.error: str | None = None
        self.finish_reason: str | None = None
        self._more = threading.Condition()
        self._channel = grpc.insecure_channel(url)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._call = stub.ModelStreamInfer(iter([request(prompt(text, max_tokens))]), timeout=limit_s)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        Stream.opened.append(self)

    def _read(self) -> None:
        try:
            for message in self._call:
                self._take(message)
        except grpc.RpcError as error:
            self.error = f"{error.code().name}: {error.details()}"
        finally:
            self._channel.close()

    def _take(self, message: Any) -> None:
        with self._more:
            self.error = message.error_message or None
            self.tokens += ids(message)
            self.finish_reason = text(message, "finish_reason") or self.finish_reason
            self._more.notify_all()

    def wait_for(self, count: int) -> None:
        """Until it has ``count`` tokens."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.tokens) >= count, LIMIT_S), (len(self.tokens), self.error)

    def wait(self, limit_s: float = LIMIT_S) -> None:
        """Until it has ended."""
        self._thread.join(limit_s)
        assert not self._thread.is_alive(), f"the stream hangs after {len(self.tokens)} tokens"

    def cancel(self) -> None:
        self._call.cancel()
        self.wait()


def post_only(url: str, body: bytes, *, receive_bytes: int | None = None, length: int | None = None) -> socket.socket:
    """POST ``body`` to generate_stream over a plain socket, and hand that over unread.

    ``length`` is what is claimed to come; ``receive_bytes`` is the size of the socket's receive buffer.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    made = socket.socket()
    if receive_bytes is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(LIMIT_S)
    made.connect((host, int(port)))
    head = f"POST /v2/models/{MODEL}/generate_stream HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    made.sendall(f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body)
    return made


def post(url: str, body: bytes) -> bytes:
    """The whole answer to ``body``, head and all."""
    with post_only(url, body) as made:
        return rest(made)


def rest(made: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    while part := made.recv(65536):
        parts.append(part)
    return b"".join(parts)
