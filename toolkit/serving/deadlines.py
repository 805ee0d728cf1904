"""The three deadlines of a streamed generation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

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
        name, limit, when = self.next()
        try:
            async with asyncio.timeout_at(when):
                return await step
        except TimeoutError:
            raise passed(name, limit) from None

    @property
    def begun(self) -> bool:
        """Whether a chunk has arrived."""
        return not self._first

    def next(self) -> tuple[str, float, float | None]:
        """Name, length and moment of the deadline that comes first."""
        step = ("first-token", self._deadlines.first_token_s) if self._first else ("idle", self._deadlines.idle_s)
        limits = (("total", self._deadlines.total_s, self._start), (*step, self._last))
        ends = [(name, limit, since + limit) for name, limit, since in limits if limit is not None]
        return min(ends, key=lambda end: end[2]) if ends else ("", 0.0, None)


class Watch:
    """``Clock.within`` for the many steps of a stream: one timer for all of them; a context manager.

    A chunk only moves the deadline away from a timer that is set, so nothing is done then: a timer that fires too early
    is set again. A timer of its own would cost each step more than the decoding of its message does.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._task: asyncio.Task[object] | None = None
        self._late: DeadlineError | None = None

    def __enter__(self) -> Self:
        self._set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def within(self, step: Awaitable[T]) -> T:
        """As ``Clock.within``; the steps of one stream may run in different tasks, one after the other."""
        task = asyncio.current_task()
        assert task is not None
        if self._timer is None or self._begun is not self._clock.begun:
            self._set()
        others = task.cancelling()
        self._task = task
        try:
            return await step
        except asyncio.CancelledError:
            if self._late is None or task.cancelling() > others + 1:
                raise
            raise self._late from None
        finally:
            self._task = None
            if self._late is not None:
                task.uncancel()
                self._late = None

    def _set(self) -> None:
        """Set the timer to the deadline that comes first; the first chunk may bring it nearer."""
        if self._timer is not None:
            self._timer.cancel()
        self._begun = self._clock.begun
        _, _, when = self._clock.next()
        self._timer = None if when is None else self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        name, limit, when = self._clock.next()
        if when is not None and when > self._loop.time():
            self._set()
        elif self._task is not None:  # else the next step finds no timer, and sets one that fires at once
            self._late = passed(name, limit)
            self._task.cancel()


def passed(name: str, limit: float) -> DeadlineError:
    return DeadlineError(f"the {name} deadline of {limit:g} s passed")
