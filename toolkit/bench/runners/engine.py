"""Offline, in this process: the engine itself, without a server and without text."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from toolkit.bench.runners.online import OnlineSession
from toolkit.bench.runners.protocol import Session, Variant
from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.protocol import Engine, Request, SamplingParams
from toolkit.recipe import RunnerKind
from toolkit.serving.client import Chunk, Deadlines
from toolkit.serving.deadlines import Clock

PROBE = SamplingParams(max_tokens=1, min_tokens=1, ignore_eos=True)
PROBE_PROMPT = (0,)
PROBE_DEADLINES = Deadlines(total_s=600.0)


class EngineClient:
    """An engine as a ``toolkit.bench.load.Client``; an async context manager that closes it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    async def generate(
        self, prompt: Sequence[int], *, sampling: SamplingParams, deadlines: Deadlines
    ) -> AsyncGenerator[Chunk, None]:
        request = Request(f"bench#{next(self._numbers)}", tuple(prompt), sampling)
        clock = Clock(deadlines)
        events = self._engine.submit(request)
        try:
            while (event := await clock.within(anext(events, None))) is not None:
                reason = event.finish_reason
                yield Chunk("", event.token_ids, clock.tick(), reason, prompt_tokens=len(prompt) if reason else None)
        finally:
            self._engine.cancel(request.request_id)

    async def probe(self) -> None:
        """Raise an ``EngineError`` unless a token can be generated."""
        async for _ in self.generate(PROBE_PROMPT, sampling=PROBE, deadlines=PROBE_DEADLINES):
            pass

    async def parameters(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True, slots=True)
class EngineRunner:
    """The variant's engine, opened by ``open_engine`` for the length of the block."""

    load: Callable[[Bundle], Engine] = open_engine
    kind: RunnerKind = "engine"

    @contextmanager
    def open(self, variant: Variant) -> Iterator[Session]:
        client = EngineClient(self.load(variant.bundle))
        with OnlineSession.open(client, lambda: None, None, fixed=variant.fixed) as session:
            session.probe()
            yield session
