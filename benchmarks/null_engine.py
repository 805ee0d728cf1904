"""An engine without a model: tokens of a text, again and again, as fast as they are asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime.protocol import Event, Request, Stats
from toolkit.engine.text import Tokenizer

TEXT = Path(__file__).parents[1] / "samples" / "tiny-gpt-oss" / "heldout.txt"
SLOTS = 256


class NullEngine:
    """Gives every request one token in each turn of the event loop that reads it."""

    max_seq_len = 8192

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._running: set[str] = set()

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        self._running.add(request.request_id)
        try:
            for index in range(request.sampling.max_tokens):
                await asyncio.sleep(0)
                if request.request_id not in self._running:
                    yield Event((), time.monotonic_ns(), finish_reason="cancelled")
                    return
                last = index + 1 == request.sampling.max_tokens
                token = self._tokens[index % len(self._tokens)]
                yield Event((token,), time.monotonic_ns(), finish_reason="length" if last else None)
        finally:
            self._running.discard(request.request_id)

    def cancel(self, request_id: str) -> None:
        self._running.discard(request_id)

    def stats(self) -> Stats:
        return Stats(len(self._running), 0, SLOTS, 0, 0, 0, 0, 0, 0, 0)

    def close(self) -> None:
        self._running.clear()


def open_engine(bundle: Bundle) -> NullEngine:
    return NullEngine(Tokenizer.open(bundle.tokenizer_dir).encode(TEXT.read_text(encoding="utf-8")))
