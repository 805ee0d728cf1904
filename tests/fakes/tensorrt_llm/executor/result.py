from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from tensorrt_llm import __version__


class RequestError(RuntimeError):
    pass


@dataclass(slots=True)
class Logprob:
    logprob: float
    rank: int | None = None


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    request_perf_metrics: Any = None


class AsyncQueue:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, item: Any) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def get(self, timeout: float | None = None) -> Any:
        return await asyncio.wait_for(self._queue.get(), timeout)


class GenerationResult:
    """What ``generate_async`` gives: an async iterator of itself, whose outputs grow."""

    def __init__(self, prompt: list[int], params: Any, streaming: bool, executor: Any) -> None:
        self.prompt, self.params, self.streaming = prompt, params, streaming
        self.outputs = [CompletionOutput(0)]
        self.last, self.count = prompt[-1], 0
        if not __version__.startswith("1.1"):
            self.cached_tokens = 0
        self._executor, self._queue, self._done = executor, AsyncQueue(), False
        self._unsent: list[int] = []

    @property
    def finished(self) -> bool:
        return self._done

    def abort(self) -> None:
        self._executor.abort_request(self)

    def __aiter__(self) -> GenerationResult:
        return self

    async def __anext__(self) -> GenerationResult:
        if self._done:
            raise StopAsyncIteration
        self._handle_response(*await self._queue.get())
        return self

    # the worker's side

    def add(self, token: int, reason: str | None, interval: int) -> None:
        self.last, self.count = token, self.count + 1
        self._unsent.append(token)
        if reason or (self.streaming and (self.count == 1 or self.count % interval == 0)):
            self.put(self._unsent, reason)
            self._unsent = []

    def put(self, tokens: list[int], reason: str | None) -> None:
        self._queue.put((tokens, reason, None))

    def put_error(self, text: str) -> None:
        self._queue.put(([], None, text))

    # the caller's side

    def _handle_response(self, tokens: list[int], reason: str | None, error: str | None) -> None:
        if error is not None:
            raise RequestError(error)
        output, params = self.outputs[0], self.params
        output.token_ids.extend(tokens)
        wanted = params.logprobs is not None if __version__.startswith("1.3") else bool(params.logprobs)
        if wanted:
            output.logprobs += [_logprob(token, params.logprobs) for token in tokens]
        if not __version__.startswith("1.1"):
            self.cached_tokens = len(self.prompt) // 32 * 32
        if params.return_perf_metrics:
            output.request_perf_metrics = _perf_metrics(ended=reason is not None)
        if reason is None:
            return
        self._done = True
        output.finish_reason = {"end_id": "stop", "stop_words": "stop"}.get(reason, reason)
        if reason == "stop_words":
            output.stop_reason = output.token_ids[-1]
            if not params.include_stop_str_in_output:
                output.token_ids = output.token_ids[:-1]


def _logprob(token: int, top: int) -> Any:
    if __version__.startswith("1.1"):
        return -0.5
    return {token + rank: Logprob(-0.5 - rank, rank + 1) for rank in range(max(1, top))}


def _perf_metrics(*, ended: bool) -> Any:
    names = ("arrival_time", "first_scheduled_time", "first_token_time", "last_token_time")
    times = {name: timedelta(seconds=5, milliseconds=n) for n, name in enumerate(names)}
    if not ended:
        times["last_token_time"] = timedelta(0)
    blocks = {"num_total_allocated_blocks": 3, "num_new_allocated_blocks": 2, "num_reused_blocks": 1}
    return SimpleNamespace(
        timing_metrics=SimpleNamespace(**times),
        kv_cache_metrics=SimpleNamespace(**blocks, num_missed_blocks=2, kv_cache_hit_rate=0.25),
        speculative_decoding=SimpleNamespace(acceptance_rate=0.0, total_accepted_draft_tokens=0, total_draft_tokens=0),
    )


class IterationResult:
    """What ``get_stats_async`` gives: ends when nothing came within ``timeout``, until another request comes."""

    def __init__(self) -> None:
        self.done, self.timeout = False, 2.0
        self._queue = AsyncQueue()

    def put(self, stats: dict[str, Any]) -> None:
        self._queue.put(stats)

    def __aiter__(self) -> IterationResult:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self.done:
            raise StopAsyncIteration
        try:
            return await self._queue.get(self.timeout)
        except TimeoutError:
            self.done = True
            raise StopAsyncIteration from None
