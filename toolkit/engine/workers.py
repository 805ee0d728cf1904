"""Tasks on threads, with everything that must not happen twice at once on the thread that waits for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Tick = Callable[[int], None]
"""Called by a task with the bytes done since its last call."""
T = TypeVar("T")


class _Stopped(Exception):
    """Ends a task whose result nobody waits for any more."""


def run_tasks(tasks: Iterable[Callable[[Tick], T]], count: int, finished: Callable[[T], None], advanced: Tick) -> None:
    """Carry out ``tasks`` on ``count`` threads, begun in their order.

    ``finished`` (with a task's result) and ``advanced`` are called on this thread. When a task, one of these two or
    Ctrl-C raises, the other tasks are ended at their next tick and waited for, then it is raised: no thread survives.
    """
    events: SimpleQueue[int | Future[T]] = SimpleQueue()
    stop = threading.Event()

    def tick(done: int) -> None:
        if stop.is_set():
            raise _Stopped
        events.put(done)

    pool = ThreadPoolExecutor(count, thread_name_prefix="trtkit-build")
    try:
        futures = [pool.submit(task, tick) for task in tasks]
        for future in futures:
            future.add_done_callback(events.put)
        waiting = len(futures)
        while waiting:
            event = events.get()
            if isinstance(event, int):
                advanced(event)
            else:
                waiting -= 1
                finished(event.result())
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
