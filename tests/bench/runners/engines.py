"""Engines that answer without a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from toolkit.bench.runners.engine import EngineRunner
from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime.protocol import Event, Request, Stats
from toolkit.errors import EngineDeadError


class FakeEngine:
    """Answers with the numbers from 0; ``dies_at`` is the request from which on it is dead."""

    max_seq_len = 64

    def __init__(self, dies_at: int | None = None) -> None:
        self.requests: list[Request] = []
        self.cancelled: list[str] = []
        self.closed = False
        self._dies_at = dies_at

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        self.requests.append(request)
        if self._dies_at is not None and len(self.requests) > self._dies_at:
            raise EngineDeadError("the engine is dead")
        for number in range(request.sampling.max_tokens):
            await asyncio.sleep(0)
            last = number == request.sampling.max_tokens - 1
            yield Event((number,), number, finish_reason="length" if last else None)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    def stats(self) -> Stats:
        raise AssertionError("nobody asks")

    def close(self) -> None:
        self.closed = True


class Engines:
    """Opens a new engine for each bundle and remembers them; those of ``dying`` die at their tenth request."""

    def __init__(self, dying: str | None = None) -> None:
        self.opened: list[tuple[str, FakeEngine]] = []
        self._dying = dying

    def load(self, bundle: Bundle) -> FakeEngine:
        name = bundle.folder.name.removeprefix("bundle-")
        self.opened.append((name, FakeEngine(10 if name == self._dying else None)))
        return self.opened[-1][1]

    @property
    def runner(self) -> EngineRunner:
        return EngineRunner(self.load)
