"""The gRPC client: one RPC a generation, typed chunks, three deadlines, and a cancel whichever way it is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import ClientError
from toolkit.serving import probe, wire
from toolkit.serving.deadlines import Clock, Deadlines
from toolkit.serving.wire import Chunk

__all__ = ["Chunk", "Deadlines", "TritonClient"]


class TritonClient:
    """A connection to one model of one Triton server; an async context manager."""

    def __init__(self, url: str, *, model: str = "tensorrt_llm") -> None:
        """``url`` is host:port of the server's gRPC endpoint."""
        self.url = url
        self.model = model
        self._channel: Any = None
        self._stub: Any = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self.url, options=wire.CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: SamplingParams,
        stop: Sequence[str] = (),
        deadlines: Deadlines = Deadlines(),  # noqa: B008  (frozen)
        request_id: str | None = None,
        skip_special_tokens: bool = True,
    ) -> AsyncGenerator[Chunk, None]:
        """Stream one completion of a text or of token ids; the last chunk carries ``finish_reason``.

        Leaving the iterator in any way cancels the request on the server. Raises ``DeadlineError`` that says which
        deadline passed, ``UnavailableError`` when nothing serves at the address or its queue is full, and
        ``ClientError`` with the server's words for everything else.
        """
        request = wire.encode(
            self.model,
            prompt,
            sampling,
            stop=stop,
            skip_special_tokens=skip_special_tokens,
            request_id=request_id,
        )
        clock = Clock(deadlines)
        call = self._stub.ModelStreamInfer()
        finished = False
        try:
            await clock.within(call.write(request))
            await clock.within(call.done_writing())
            while (message := await clock.within(call.read())) is not grpc.aio.EOF:
                chunk = wire.decode(message, clock.tick())
                finished = finished or chunk.finish_reason is not None
                yield chunk
            if not finished:
                raise ClientError("the stream ended before the generation did", where=self.url)
        except grpc.aio.AioRpcError as error:
            raise wire.error_from(error.code(), error.details(), self.url) from None
        finally:
            call.cancel()

    async def probe(self, timeout_s: float = 10.0) -> None:
        """Generate one token: the only real health check. Raises ``ClientError``."""
        async for _ in self.generate(probe.PROMPT, sampling=probe.SAMPLING, deadlines=Deadlines(total_s=timeout_s)):
            pass

    async def parameters(self) -> dict[str, str]:
        """The parameters in the served model's configuration; trtkit's name the bundle's ``identity`` among others."""
        try:
            reply = await self._stub.ModelConfig(service_pb2.ModelConfigRequest(name=self.model))
        except grpc.aio.AioRpcError as error:
            raise wire.error_from(error.code(), error.details(), self.url) from None
        return {name: value.string_value for name, value in reply.config.parameters.items()}
