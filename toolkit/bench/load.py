"""One trial's load: a closed loop of streaming requests held at a concurrency."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from toolkit.bench.grid import Point
from toolkit.bench.prompts import Prompt, Prompts
from toolkit.bench.request import RequestRecord
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import TrtkitError
from toolkit.serving.client import Chunk, Deadlines

DEADLINES = Deadlines(first_token_s=600.0, idle_s=120.0)
"""Only to end a trial whose server has died: far above what a working one needs."""


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


async def run_load(client: Client, point: Point, prompts: Prompts, on_request: Callable[[int], None]) -> Load:
    """Warm up, then send the measured prompts with ``point.concurrency`` in flight; ``on_request`` gets their count.

    Every request decodes greedily past end tokens to exactly ``point.osl`` tokens. After an error no further request
    is sent: the trial has failed.
    """
    warmup = await _closed_loop(client, point, prompts.warmup, lambda count: None)
    if (error := _first_error(warmup)) is not None:
        return Load((), f"warm-up: {error}")
    requests = await _closed_loop(client, point, prompts.measured, on_request)
    zero = min(request.start_ns for request in requests)
    return Load(tuple(_shifted(request, zero) for request in requests), _first_error(requests))


async def _closed_loop(
    client: Client, point: Point, prompts: Sequence[Prompt], on_request: Callable[[int], None]
) -> list[RequestRecord]:
    """Each of ``point.concurrency`` users sends its next request when its last one has ended."""
    sampling = SamplingParams(max_tokens=point.osl, min_tokens=point.osl, ignore_eos=True)
    waiting = deque(enumerate(prompts))
    ended: list[RequestRecord] = []

    async def user() -> None:
        while waiting:
            record = await _measure(client, *waiting.popleft(), sampling)
            ended.append(record)
            on_request(len(ended))
            if record.status == "error":
                waiting.clear()

    async with asyncio.TaskGroup() as users:
        for _ in range(point.concurrency):
            users.create_task(user())
    return ended


async def _measure(client: Client, number: int, prompt: Prompt, sampling: SamplingParams) -> RequestRecord:
    token_ns: list[int] = []
    prompt_tokens = len(prompt)
    error = None
    start_ns = time.monotonic_ns()
    try:
        async with aclosing(client.generate(prompt, sampling=sampling, deadlines=DEADLINES)) as chunks:
            end_ns = start_ns
            async for chunk in chunks:
                token_ns += [chunk.received_ns] * len(chunk.token_ids)
                end_ns = chunk.received_ns
                prompt_tokens = prompt_tokens if chunk.prompt_tokens is None else chunk.prompt_tokens
    except TrtkitError as failure:
        end_ns = time.monotonic_ns()
        error = str(failure)
    return RequestRecord(
        id=number,
        prompt_tokens=prompt_tokens,
        start_ns=start_ns,
        token_ns=tuple(token_ns),
        end_ns=end_ns,
        status="error" if error else "ok",
        error=error,
    )


def _first_error(requests: Sequence[RequestRecord]) -> str | None:
    return next((request.error for request in requests if request.error), None)


def _shifted(request: RequestRecord, zero: int) -> RequestRecord:
    """The same request on a clock that starts at ``zero``."""
    return request.model_copy(
        update={
            "start_ns": request.start_ns - zero,
            "token_ns": tuple(time_ns - zero for time_ns in request.token_ns),
            "end_ns": request.end_ns - zero,
        }
    )
