"""A bundle's engine in this process, generating as a client does: the same call, the same chunks, no server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.protocol import Engine, Request, SamplingParams
from toolkit.engine.text import TextEvent, Tokenizer, generate_text
from toolkit.serving.deadlines import Clock, Deadlines
from toolkit.serving.wire import Chunk


class LocalModel:
    """An opened engine and its tokenizer; an async context manager that closes the engine."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._numbers = itertools.count()

    @classmethod
    def open(cls, bundle: Bundle) -> LocalModel:
        """Load the bundle. Raises ``EngineError`` or ``CheckpointError``."""
        tokenizer = Tokenizer.open(bundle.tokenizer_dir)
        return cls(open_engine(bundle), tokenizer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    async def generate(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: SamplingParams,
        stop: Sequence[str] = (),
        deadlines: Deadlines = Deadlines(),  # noqa: B008  (frozen)
        skip_special_tokens: bool = True,
    ) -> AsyncGenerator[Chunk, None]:
        """As ``TritonClient.generate``; raises ``EngineError`` where that raises ``ClientError``."""
        ids = tuple(self._tokenizer.encode(prompt) if isinstance(prompt, str) else prompt)
        request = Request(f"local#{next(self._numbers)}", ids, sampling)
        events = generate_text(self._engine, self._tokenizer, request, stop, skip_special_tokens=skip_special_tokens)
        clock = Clock(deadlines)
        async with aclosing(events):
            while (event := await clock.within(anext(events, None))) is not None:
                yield _chunk(event, clock.tick())


def _chunk(event: TextEvent, received_ns: int) -> Chunk:
    ended = event.finish_reason is not None
    return Chunk(
        text=event.text,
        token_ids=event.token_ids,
        received_ns=received_ns,
        finish_reason=event.finish_reason,
        stop_reason=None if event.stop_reason is None else str(event.stop_reason),
        prompt_tokens=event.prompt_tokens if ended else None,
        output_tokens=event.output_tokens if ended else None,
        logprobs=event.logprobs,
        cached_tokens=event.cached_tokens,
        response_time_ns=event.time_ns,
    )
