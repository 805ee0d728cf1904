"""One trial's load: streaming requests, sent in answer to each other or at times of their own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from toolkit.bench.request import RequestRecord
from toolkit.bench.workload.arrival import NS_PER_S, Arrival, ClosedLoop, OpenLoop, Replay, due_times
from toolkit.bench.workload.draw import RequestSpec
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import TrtkitError
from toolkit.serving.client import Chunk, Deadlines

DEADLINES = Deadlines(first_token_s=600.0, idle_s=120.0)
"""Only to end a trial whose server has died: far above what a working one needs."""
WARMUP_PER_SLOT = 2
"""Warm-up requests for each in flight: with fewer than one, first tokens came 28 % late (vllm-omni #6356)."""


class Client(Protocol):
    """What is measured through; ``toolkit.serving.client.TritonClient`` is one."""

    def generate(
        self, prompt: Sequence[int], *, sampling: SamplingParams, deadlines: Deadlines
    ) -> AsyncGenerator[Chunk, None]: ...

    async def probe(self) -> None:
        """Raise a ``ClientError`` unless a token can be generated."""
        ...

    async def parameters(self) -> dict[str, str]:
        """The served model's own; ``identity`` is that of its bundle."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """The measured requests in the order of their ends. ``error`` is the first one, of warm-up or measurement."""

    requests: tuple[RequestRecord, ...]
    error: str | None


async def run_load(
    client: Client,
    specs: Sequence[RequestSpec],
    warmup: Sequence[RequestSpec],
    arrival: Arrival,
    on_request: Callable[[int], None],
) -> Load:
    """Warm up, then send ``specs`` as ``arrival`` says; ``on_request`` gets the count of those that ended.

    Every request decodes greedily past end tokens to exactly its ``output_tokens``. Warm-up requests are sent in a
    closed loop: as many in flight as are measured with, in an open loop half of them. After an error no further request
    is sent: the trial has failed. Raises ``RecipeError`` for a replay of requests without times.
    """
    slots = arrival.concurrency if isinstance(arrival, ClosedLoop) else -(-len(warmup) // WARMUP_PER_SLOT)
    before = _Sender(client, lambda count: None)
    await _closed_loop(before, warmup, slots)
    if (error := before.error) is not None:
        return Load((), f"warm-up: {error}")
    sender = _Sender(client, on_request)
    if isinstance(arrival, ClosedLoop):
        await _closed_loop(sender, specs, arrival.concurrency)
    else:
        await _open_loop(sender, specs, arrival)
    zero = min((request.start_ns for request in sender.ended), default=0)
    return Load(tuple(_shifted(request, zero) for request in sender.ended), sender.error)


async def _closed_loop(sender: _Sender, specs: Sequence[RequestSpec], concurrency: int) -> None:
    """Each of ``concurrency`` users sends its next request when its last one has ended."""
    waiting = deque(specs)

    async def user() -> None:
        while waiting and sender.error is None:
            await sender.send(waiting.popleft(), None)

    async with asyncio.TaskGroup() as users:
        for _ in range(concurrency):
            users.create_task(user())


async def _open_loop(sender: _Sender, specs: Sequence[RequestSpec], arrival: OpenLoop | Replay) -> None:
    """Each request is sent at its time, however many are still in flight: a stalled server does not hold it back."""
    times = due_times(arrival, specs)
    zero_s, zero_ns = asyncio.get_running_loop().time(), time.monotonic_ns()
    async with asyncio.TaskGroup() as requests:
        for spec, due_ns in zip(specs, times, strict=True):
            if await sender.fails_before(zero_s + due_ns / NS_PER_S):
                return
            requests.create_task(sender.send(spec, zero_ns + due_ns))


class _Sender:
    """Sends requests and keeps what became of them, in the order of their ends."""

    def __init__(self, client: Client, on_request: Callable[[int], None]) -> None:
        self.ended: list[RequestRecord] = []
        self.error: str | None = None
        self._client = client
        self._on_request = on_request
        self._failed = asyncio.Event()

    async def fails_before(self, moment: float) -> bool:
        """Wait until ``moment`` of the loop's clock, or until a request has failed: whether one has."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(moment):
                await self._failed.wait()
        return self._failed.is_set()

    async def send(self, spec: RequestSpec, due_ns: int | None) -> None:
        record = await _measure(self._client, spec, due_ns)
        self.ended.append(record)
        if record.error is not None and self.error is None:
            self.error = record.error
            self._failed.set()
        self._on_request(len(self.ended))


async def _measure(client: Client, spec: RequestSpec, due_ns: int | None) -> RequestRecord:
    token_ns: list[int] = []
    prompt_tokens = len(spec.prompt_ids)
    error = None
    sampling = _exactly(spec.output_tokens)
    sent_ns = time.monotonic_ns()
    start_ns = end_ns = sent_ns if due_ns is None else due_ns
    try:
        async with aclosing(client.generate(spec.prompt_ids, sampling=sampling, deadlines=DEADLINES)) as chunks:
            async for chunk in chunks:
                end_ns = chunk.received_ns
                token_ns += [end_ns] * len(chunk.token_ids)
                prompt_tokens = prompt_tokens if chunk.prompt_tokens is None else chunk.prompt_tokens
    except TrtkitError as failure:
        end_ns = time.monotonic_ns()
        error = str(failure)
    return RequestRecord(
        id=spec.id,
        prompt_tokens=prompt_tokens,
        start_ns=start_ns,
        token_ns=tuple(token_ns),
        end_ns=end_ns,
        status="ok" if error is None else "error",
        error=error,
        late_ns=max(0, sent_ns - start_ns),
    )


@lru_cache
def _exactly(tokens: int) -> SamplingParams:
    return SamplingParams(max_tokens=tokens, min_tokens=tokens, ignore_eos=True)


def _shifted(request: RequestRecord, zero: int) -> RequestRecord:
    """The same request on a clock that starts at ``zero``."""
    return request.model_copy(
        update={
            "start_ns": request.start_ns - zero,
            "token_ns": tuple(time_ns - zero for time_ns in request.token_ns),
            "end_ns": request.end_ns - zero,
        }
    )
