"""The three deadlines of a streamed generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from toolkit.errors import DeadlineError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for the whole generation, for its first chunk, and between chunks; None waits for ever.

    A dead model process gives no error: only the idle deadline ends a running stream then, and only the first-token
    deadline one that has not begun.
    """

    total_s: float | None = None
    first_token_s: float | None = None
    idle_s: float | None = None


class Clock:
    """Holds one generation to its deadlines; starts when made, on the running loop."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._now = asyncio.get_running_loop().time
        self._start = self._last = self._now()
        self._first = True

    def tick(self) -> int:
        """A chunk arrived: returns ``time.monotonic_ns()``; the idle deadline counts from here."""
        received_ns = time.monotonic_ns()
        self._last = self._now()
        self._first = False
        return received_ns

    async def within(self, step: Awaitable[T]) -> T:
        """The result of ``step``; ``DeadlineError`` that names the deadline when it does not come in time."""
        name, limit, when = self._next()
        try:
            async with asyncio.timeout_at(when):
                return await step
        except TimeoutError:
            raise DeadlineError(f"the {name} deadline of {limit:g} s passed") from None

    def _next(self) -> tuple[str, float, float | None]:
        """Name, length and moment of the deadline that comes first."""
        step = ("first-token", self._deadlines.first_token_s) if self._first else ("idle", self._deadlines.idle_s)
        limits = (("total", self._deadlines.total_s, self._start), (*step, self._last))
        ends = [(name, limit, since + limit) for name, limit, since in limits if limit is not None]
        return min(ends, key=lambda end: end[2]) if ends else ("", 0.0, None)
