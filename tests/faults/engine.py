"""Engines for the fault tests: the toy with a pace, and the CPU runtime with a model that fails while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.serving.toy import ToyEngine
from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.cpu.engine import CpuEngine
from toolkit.engine.runtime.protocol import Event, Request

PACED = "tests.faults.engine:open_paced"
FAILING = "tests.faults.engine:open_failing"
PACE_S = 0.01
POISON = 13
"""A prompt that begins with this token makes the failing engine's model raise when it has run for a few steps."""


class PacedEngine(ToyEngine):
    """The toy, with one thing more that a prompt's first byte asks for: ``p``, a token every ``PACE_S``."""

    async def _events(self, request: Request, cancelled: asyncio.Event) -> AsyncIterator[Event]:
        async for event in super()._events(request, cancelled):
            yield event
            if request.prompt_ids[0] == ord("p"):
                await asyncio.sleep(PACE_S)


def open_paced(bundle: Bundle) -> PacedEngine:
    return PacedEngine()


def open_failing(bundle: Bundle) -> CpuEngine:
    """The CPU engine, whose model raises in the step of a batch that holds ``POISON`` as a prompt's first token."""
    engine = open_engine(bundle)
    assert isinstance(engine, CpuEngine)
    model = engine._model
    step = model.step

    def poisoned(tokens_T: Any, positions_T: Any, *rest: Any) -> Any:
        if ((tokens_T == POISON) & (positions_T == 0)).any():
            raise MemoryError("Unable to allocate 2.00 GiB")
        return step(tokens_T, positions_T, *rest)

    model.step = poisoned  # type: ignore[method-assign, assignment]
    return engine
