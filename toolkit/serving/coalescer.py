"""When the tokens of open streams leave: one response at a time, each with all that its stream holds by then.

A response costs Triton's model process 0.1 to 0.2 ms whatever is in it, and one thread makes them all. So streams that
have something due wait in line; between two responses the loop takes in what the engine made meanwhile. With few
streams every token leaves at once; with many, or a fast engine, responses grow instead of the line. The wait is bounded
by the line's length times the cost of a response. First tokens go to its head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from toolkit.serving.job import Job

MAX_WAIT_S = 0.2
"""How long tokens may wait for the rest of their ``stream_interval``."""


class Coalescer:
    """Belongs to one event loop; ``send`` sends what a job's reply holds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Job], None], *, enabled: bool = True) -> None:
        """Not ``enabled``, every response that is due is sent at once."""
        self._loop = loop
        self._send = send
        self._enabled = enabled
        self._line: deque[Job] = deque()
        self._scheduled = False

    def offer(self, job: Job) -> None:
        """Look at ``job`` after tokens were added to its reply."""
        if job.reply.due and not job.queued:
            self._enqueue(job)

    def sweep(self, jobs: Iterable[Job]) -> None:
        """Let go what has waited ``MAX_WAIT_S`` for more."""
        now = self._loop.time()
        for job in jobs:
            if job.reply.holds and not job.queued and now - job.sent_s >= MAX_WAIT_S:
                self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        if not self._enabled:
            self._now(job)
            return
        job.queued = True
        if job.reply.begun:
            self._line.append(job)
        else:
            self._line.appendleft(job)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Send for the first in line, then let the loop do whatever else is ready."""
        job = self._line.popleft()
        job.queued = False
        self._scheduled = bool(self._line)
        if self._scheduled:
            self._loop.call_soon(self._next)
        # it may have ended, or have sent its last response, while it stood in line
        if not job.ended and job.reply.holds:
            self._now(job)

    def _now(self, job: Job) -> None:
        job.sent_s = self._loop.time()
        self._send(job)
