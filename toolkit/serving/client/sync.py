"""The same client for code without asyncio: usable from any thread, and from several at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import ClientError
from toolkit.serving.client.asynchronous import TritonClient
from toolkit.serving.connection import Retry, Tls
from toolkit.serving.contract import Contract
from toolkit.serving.deadlines import Deadlines
from toolkit.serving.wire import Chunk

T = TypeVar("T")


class ClientOptions(TypedDict, total=False):
    """Keywords of ``TritonClient``."""

    model: str
    tls: Tls | None
    headers: Mapping[str, str]
    retry: Retry
    keepalive_s: float | None
    channel_options: Sequence[tuple[str, Any]]


class GenerateOptions(TypedDict, total=False):
    """Keywords of ``TritonClient.generate`` that have defaults."""

    stop: Sequence[str]
    deadlines: Deadlines
    request_id: str | None
    skip_special_tokens: bool
    headers: Mapping[str, str]


class SyncTritonClient:
    """``TritonClient`` on an event loop in a thread of its own; a context manager."""

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        """As ``TritonClient``."""
        self._client = TritonClient(url, **options)
        self.url = self._client.url
        self.model = self._client.model
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="trtkit-client", daemon=True)
        self._thread.start()
        self._run(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection; iterators that are still open, in whichever thread, raise ``ClientError``."""
        assert self._loop is not None
        loop, self._loop = self._loop, None
        asyncio.run_coroutine_threadsafe(self._close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def generate(
        self, prompt: str | Sequence[int], *, sampling: SamplingParams, **options: Unpack[GenerateOptions]
    ) -> Generator[Chunk, None, None]:
        """As ``TritonClient.generate``: closing the iterator, or leaving it to be collected, cancels the request."""
        stream = _Stream(self._client.generate(prompt, sampling=sampling, **options))
        try:
            while (chunk := self._run(stream.next())) is not None:
                yield chunk
        finally:
            if self._loop is not None:
                self._end(stream)

    def _end(self, stream: _Stream) -> None:
        if threading.current_thread() is self._thread:
            # it was collected there, where waiting would be for ever
            asyncio.run_coroutine_threadsafe(stream.close(), asyncio.get_running_loop())
        else:
            self._run(stream.close())

    def probe(self, timeout_s: float = 10.0) -> None:
        """As ``TritonClient.probe``."""
        self._run(self._client.probe(timeout_s))

    def parameters(self, timeout_s: float = 10.0) -> dict[str, str]:
        """As ``TritonClient.parameters``."""
        return self._run(self._client.parameters(timeout_s))

    def contract(self) -> Contract:
        """As ``TritonClient.contract``."""
        return self._run(self._client.contract())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise ClientError("the client is not open", where=self.url, hint="Use it inside its with block")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClientError("the client was closed", where=self.url) from None
        finally:
            future.cancel()  # does nothing but after a KeyboardInterrupt

    async def _close(self) -> None:
        await self._client.__aexit__(None, None, None)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()


class _Stream:
    """An async iterator whose pending step can be given up; all on the loop's thread."""

    def __init__(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        self._chunks = chunks
        self._step: asyncio.Task[Any] | None = None

    async def next(self) -> Chunk | None:
        self._step = asyncio.current_task()
        return await anext(self._chunks, None)

    async def close(self) -> None:
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.wait({self._step})
        await self._chunks.aclose()
