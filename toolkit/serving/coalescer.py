"""When the tokens of open streams leave, so that sending them never holds up the engine that makes them.

A response costs Triton's model process and server 0.3 ms of processor time whatever is in it, and one thread makes them
all. So a stream that has something due stands in line, and the line moves at a pace: up to that many responses a second
every token leaves at once, beyond it streams wait and their next responses hold what came meanwhile. A long line moves
faster, so that no stream waits longer than ``MAX_WAIT_S``. First tokens do not wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from toolkit.serving.job import Job

PACE_S = 0.002
"""Between two responses."""

MAX_WAIT_S = 0.2
"""How long tokens may wait in line, and how long for the rest of their ``stream_interval``."""


class Coalescer:
    """Belongs to one event loop; ``send`` sends what a job's reply holds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Job], None], *, enabled: bool = True) -> None:
        """Not ``enabled``, every response that is due is sent at once."""
        self._loop = loop
        self._send = send
        self._enabled = enabled
        self._line: deque[Job] = deque()
        self._moved_s = 0.0
        self._scheduled = False

    def offer(self, job: Job) -> None:
        """Look at ``job`` after tokens were added to its reply."""
        if job.reply.due and not job.queued:
            if self._enabled and job.reply.begun:
                self._line_up(job)
            else:
                self._now(job)

    def sweep(self, jobs: Iterable[Job]) -> None:
        """Let go what has waited ``MAX_WAIT_S`` for more."""
        now = self._loop.time()
        for job in jobs:
            if job.reply.holds and not job.queued and now - job.sent_s >= MAX_WAIT_S:
                self._now(job)

    def _line_up(self, job: Job) -> None:
        job.queued = True
        self._line.append(job)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_at(self._moved_s + PACE_S, self._move)

    def _move(self) -> None:
        """Send for the first in line, or the first few of a long one, then leave the loop to the engine's events."""
        self._moved_s = self._loop.time()
        for _ in range(1 + int(len(self._line) * PACE_S / MAX_WAIT_S)):
            job = self._line.popleft()
            job.queued = False
            # it may have ended while it stood in line
            if not job.ended and job.reply.holds:
                self._now(job)
        self._scheduled = bool(self._line)
        if self._scheduled:
            self._loop.call_at(self._moved_s + PACE_S, self._move)

    def _now(self, job: Job) -> None:
        job.sent_s = self._loop.time()
        self._send(job)
