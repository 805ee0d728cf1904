"""One answer: chunks of token ids → deltas, and how long they took."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from toolkit.chat.deltas import ChatDelta, ChatParser
from toolkit.serving.wire import Chunk


class Answer:
    """What came of one answer, whole or until it was stopped. Times in seconds since ``listen``; counts of tokens."""

    def __init__(self, parser: ChatParser, show: Callable[[ChatDelta], None]) -> None:
        self.deltas: list[ChatDelta] = []
        self.prompt_tokens: int | None = None
        self.output_tokens = 0
        self.finish_reason: str | None = None
        self.ttft_s: float | None = None
        self.total_s = 0.0
        self._parser = parser
        self._show = show

    async def listen(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        """To the end; when cancelled, ``chunks`` is closed and what was said so far is kept."""
        start_ns = time.monotonic_ns()
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    self._take(chunk, start_ns)
        finally:
            self._said(self._parser.finish())

    def _take(self, chunk: Chunk, start_ns: int) -> None:
        self.total_s = (chunk.received_ns - start_ns) / 1e9
        if self.ttft_s is None and chunk.token_ids:
            self.ttft_s = self.total_s
        self.output_tokens += len(chunk.token_ids)
        self.finish_reason = chunk.finish_reason
        self.prompt_tokens = chunk.prompt_tokens
        self._said(self._parser.push(chunk.token_ids))

    def _said(self, deltas: list[ChatDelta]) -> None:
        for delta in deltas:
            self.deltas.append(delta)
            self._show(delta)

    @property
    def tokens_per_s(self) -> float | None:
        """Of the tokens after the first; None where there are none."""
        if self.ttft_s is None or self.output_tokens < 2 or self.total_s <= self.ttft_s:
            return None
        return (self.output_tokens - 1) / (self.total_s - self.ttft_s)

    def describe(self) -> str:
        parts = [f"TTFT {self.ttft_s:.2f} s"] if self.ttft_s is not None else []
        parts += [f"{self.tokens_per_s:.1f} tok/s"] if self.tokens_per_s is not None else []
        prompt = f"{self.prompt_tokens} + " if self.prompt_tokens is not None else ""
        tokens = "1 token" if (prompt, self.output_tokens) == ("", 1) else f"{prompt}{self.output_tokens} tokens"
        return " · ".join([*parts, tokens, self.finish_reason or "stopped"])
