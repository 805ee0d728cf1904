"""Watch a server while something waits for its answers: one that has died may never say so to its clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from toolkit.errors import ServerError

Result = TypeVar("Result")
CHECK_S = 0.5
LAST_WORD_S = 0.05


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``url`` is host:port of a server's gRPC; ``check`` raises ``ServerError`` once nothing can be served any more."""

    url: str
    check: Callable[[], None]


def unwatched(url: str) -> Endpoint:
    """A server whose processes cannot be seen from here."""
    return Endpoint(url, check=lambda: None)


async def while_alive(work: Coroutine[Any, Any, Result], check: Callable[[], None]) -> Result:
    """The result of ``work``, which is cancelled as soon as ``check`` raises; its error goes on to the caller."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            try:
                # in a thread: reading /proc must not delay the receipt of a token
                await asyncio.to_thread(check)
            except ServerError:
                # a client that saw the death itself is about to say so
                await asyncio.wait({task}, timeout=LAST_WORD_S)
                if not task.done():
                    raise
            await asyncio.wait({task}, timeout=CHECK_S)
    finally:
        task.cancel()
        await asyncio.wait({task})
    return task.result()
