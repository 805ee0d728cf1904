"""The asynchronous client: one connection, the model's contract found out once, one RPC a generation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import BusyError, ClientError, ConnectError, DeadlineError, UnavailableError
from toolkit.serving import probe, wire
from toolkit.serving.connection import CHANNEL_OPTIONS, Retry, Tls, keepalive, metadata
from toolkit.serving.contract import Contract, contract_of
from toolkit.serving.deadlines import Clock, Deadlines, Watch
from toolkit.serving.failures import error_from
from toolkit.serving.reader import Reader
from toolkit.serving.wire import Chunk

NO_STREAMING = "Streaming is only supported"
"""How NVIDIA's models refuse it where they are not decoupled, whatever their configuration says."""


class TritonClient:
    """A connection to one model of one Triton server; an async context manager.

    The model may follow trtkit's contract, or that of NVIDIA's llmapi or ensemble model: its configuration tells.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "tensorrt_llm",
        tls: Tls | None = None,
        headers: Mapping[str, str] = {},
        retry: Retry = Retry(),  # noqa: B008  (frozen)
        keepalive_s: float | None = None,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """``url`` is host:port of the server's gRPC endpoint; ``headers`` go with every call.

        ``channel_options`` are gRPC's own. Raises ``ClientError`` for a header that cannot be sent and for a keepalive
        that servers answer with the end of the stream.
        """
        self.url = url
        self.model = model
        self._tls = tls
        self._headers = metadata(headers)
        self._retry = retry
        self._options = (*CHANNEL_OPTIONS, *keepalive(keepalive_s), *channel_options)
        self._channel: Any = None
        self._stub: Any = None
        self._contract: Contract | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self.url, options=self._options)
        else:
            self._channel = grpc.aio.secure_channel(self.url, self._tls.credentials(), options=self._options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stub = None
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
        headers: Mapping[str, str] = {},
    ) -> AsyncGenerator[Chunk, None]:
        """Stream one completion of a text or of token ids; trtkit's last chunk carries ``finish_reason``.

        Leaving the iterator in any way cancels the request on the server. ``headers`` go with this call, for example a
        W3C ``traceparent``. A request that no connection or a full queue took is tried again as the client's ``Retry``
        says, within the deadlines and never after a chunk. Raises ``DeadlineError`` that says which deadline passed,
        ``UnsupportedError`` for a parameter that the model does not take, ``UnavailableError`` when nothing serves at
        the address or its queue is full, and ``ClientError`` with the server's words for everything else.
        """
        clock = Clock(deadlines)
        pairs = (*self._headers, *metadata(headers))
        options = {"stop": stop, "request_id": request_id, "skip_special_tokens": skip_special_tokens}
        failures, answered = 0, False
        while True:
            try:
                async with aclosing(self._attempt(clock, pairs, prompt, sampling, **options)) as chunks:
                    async for chunk in chunks:
                        answered = True
                        yield chunk
                return
            except ClientError as error:
                if answered:
                    raise
                if self._does_not_stream(error):
                    continue
                failures += 1
                await self._pause(clock, failures, error)

    async def _attempt(
        self,
        clock: Clock,
        headers: tuple[tuple[str, str], ...],
        prompt: str | Sequence[int],
        sampling: SamplingParams,
        **options: Any,
    ) -> AsyncGenerator[Chunk, None]:
        contract = await clock.within(self.contract())
        request = wire.encode(self.model, prompt, sampling, contract=contract, **options)
        reader = Reader(contract)
        call = self._connected().ModelStreamInfer(metadata=headers)
        try:
            with Watch(clock) as watch:
                await watch.within(call.write(request))
                await watch.within(call.done_writing())
                while (message := await watch.within(call.read())) is not grpc.aio.EOF:
                    yield reader.read(self._message(message), clock.tick())
            for chunk in reader.finish(clock.tick()):
                yield chunk
        except grpc.aio.AioRpcError as error:
            raise error_from(error.code(), error.details(), self.url) from None
        except asyncio.CancelledError:
            self._check_open()
            raise
        finally:
            call.cancel()

    async def contract(self) -> Contract:
        """What the model takes and sends; asked for once, and again after the server went away."""
        async with self._asking:
            if self._contract is None:
                self._contract = contract_of(await self._config())
            return self._contract

    async def probe(self, timeout_s: float = 10.0) -> None:
        """Generate one token: the only real health check. Raises ``ClientError``."""
        await Clock(Deadlines(total_s=timeout_s)).within(self._probe())

    async def parameters(self, timeout_s: float = 10.0) -> dict[str, str]:
        """The parameters in the served model's configuration; trtkit's name the bundle's ``identity`` among others."""
        config = await Clock(Deadlines(total_s=timeout_s)).within(self._config())
        return {name: value.string_value for name, value in config.parameters.items()}

    async def _probe(self) -> None:
        prompt, sampling = probe.request_for(await self.contract())
        async with aclosing(self.generate(prompt, sampling=sampling)) as chunks:
            async for _ in chunks:
                pass

    async def _config(self) -> Any:
        """The model's ``ModelConfig``: it says all that its metadata says, and what the contract hangs on."""
        request = service_pb2.ModelConfigRequest(name=self.model)
        try:
            reply = await self._connected().ModelConfig(request, metadata=self._headers)
        except grpc.aio.AioRpcError as error:
            raise error_from(error.code(), error.details(), self.url) from None
        except asyncio.CancelledError:
            self._check_open()
            raise
        return self._message(reply).config

    def _message(self, reply: Any) -> Any:
        """gRPC gives None for bytes that are no message of the type."""
        if reply is None:
            raise ClientError("what the server sent is no Triton message", where=self.url)
        return reply

    def _connected(self) -> Any:
        self._check_open()
        return self._stub

    def _check_open(self) -> None:
        if self._stub is None:
            raise ClientError("the client is not open", where=self.url, hint="Use it inside its with block")

    def _does_not_stream(self, error: ClientError) -> bool:
        """Whether the request can be made again without streaming; from now on no request asks for it then."""
        refused = NO_STREAMING in error.what and self._contract is not None and self._contract.streams
        if refused and self._contract is not None:
            self._contract = replace(self._contract, streams=False)
        return refused

    async def _pause(self, clock: Clock, failures: int, error: ClientError) -> None:
        """Wait before the next attempt; raises ``error`` where there is none."""
        if isinstance(error, UnavailableError) and not isinstance(error, BusyError):
            self._contract = None  # what comes back may be another model
        if not isinstance(error, BusyError | ConnectError) or failures >= self._retry.attempts:
            raise error
        try:
            await clock.within(asyncio.sleep(self._retry.pause_s(failures, random.random())))
        except DeadlineError as late:
            raise DeadlineError(f"{late.what}, and the server had last said: {error}") from None
