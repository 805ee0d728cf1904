"""Collect the chunks of one generation, wherever they come from."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from toolkit.engine.runtime.protocol import TokenLogprob
from toolkit.serving.wire import Chunk


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished generation. ``ttft_s`` and ``total_s`` count seconds from its start to the first and last chunk."""

    text: str
    token_ids: tuple[int, ...]
    prompt_tokens: int | None
    output_tokens: int | None
    finish_reason: str | None
    stop_reason: str | None
    ttft_s: float
    total_s: float
    logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int | None = None


async def collect(chunks: AsyncGenerator[Chunk, None], on_text: Callable[[str], None]) -> Completion:
    """Run a generation to its end, handing each text delta to ``on_text``; leaving early closes ``chunks``."""
    start_ns = time.monotonic_ns()
    seen: list[Chunk] = []
    async with aclosing(chunks):
        async for chunk in chunks:
            seen.append(chunk)
            on_text(chunk.text)
    last = seen[-1]
    return Completion(
        text="".join(chunk.text for chunk in seen),
        token_ids=tuple(token for chunk in seen for token in chunk.token_ids),
        prompt_tokens=last.prompt_tokens,
        output_tokens=last.output_tokens,
        finish_reason=last.finish_reason,
        stop_reason=last.stop_reason,
        ttft_s=(seen[0].received_ns - start_ns) / 1e9,
        total_s=(last.received_ns - start_ns) / 1e9,
        logprobs=tuple(entry for chunk in seen for entry in chunk.logprobs),
        cached_tokens=last.cached_tokens,
    )
