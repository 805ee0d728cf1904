"""A gRPC server on a real socket that answers as Triton would, or as no Triton should."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from toolkit.serving.tensors import INPUTS

Answer = Callable[[Any, Any], AsyncIterator[Any]]
"""(request, context) of a stream → its messages."""

TYPES = {"BYTES": "STRING"}


def config(text: str) -> Any:
    """A ModelConfig from its text format, which is what config.pbtxt is in."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def own_config(**parameters: str) -> Any:
    """As trtkit's: every input, an output for each that can be asked for, and what ``parameters`` name."""
    made = config('name: "tensorrt_llm" model_transaction_policy { decoupled: true }')
    for spec in INPUTS:
        kind = model_config_pb2.DataType.Value(f"TYPE_{TYPES.get(spec.datatype, spec.datatype)}")
        for name in spec.names:
            made.input.add(name=name, data_type=kind, dims=[-1], optional=True)
        made.output.add(name=spec.key, data_type=kind, dims=[-1])
    for name, value in {"text_mode": "delta", **parameters}.items():
        made.parameters[name].string_value = value
    return made


def message(**outputs: Any) -> Any:
    """A response with a tensor for each of ``outputs``: text, or a list of ints."""
    reply = service_pb2.ModelStreamInferResponse()
    for name, value in outputs.items():
        if isinstance(value, str):
            raw = value.encode()
            datatype, shape, content = "BYTES", [1], len(raw).to_bytes(4, "little") + raw
        else:
            datatype, shape, content = "INT32", [len(value)], b"".join(item.to_bytes(4, "little") for item in value)
        reply.infer_response.outputs.add(name=name, datatype=datatype, shape=shape)
        reply.infer_response.raw_output_contents.append(content)
    return reply


def error(text: str) -> Any:
    return service_pb2.ModelStreamInferResponse(error_message=text)


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Records the requests and the headers of each call."""

    def __init__(self, answer: Answer, served: Any) -> None:
        self.answer = answer
        self.served = served
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.configs = 0

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        self.configs += 1
        return service_pb2.ModelConfigResponse(config=self.served)

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        self.headers.append(dict(context.invocation_metadata()))
        async for request in requests:
            self.requests.append(request)
            async for reply in self.answer(request, context):
                yield reply


@asynccontextmanager
async def serving(
    answer: Answer, served: Any = None, *, credentials: Any = None, port: int = 0
) -> AsyncIterator[tuple[str, Servicer, grpc.aio.Server]]:
    """Serve on a port of this machine, by default a free one: (host:port, the servicer, the server)."""
    server = grpc.aio.server()
    servicer = Servicer(answer, own_config() if served is None else served)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    try:
        yield f"{'127.0.0.1' if credentials is None else 'localhost'}:{port}", servicer, server
    finally:
        await server.stop(0)


@contextmanager
def served(answer: Answer, **options: Any) -> Iterator[tuple[str, Servicer]]:
    """A server whose loop runs in another thread: (host:port, the servicer)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = serving(answer, **options)
    try:
        url, servicer, _ = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
        yield url, servicer
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
