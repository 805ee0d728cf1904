"""The live requests of an engine, and its counts. Whoever takes a request out of it says the request's last word."""

from __future__ import annotations

import threading
from dataclasses import replace

from toolkit.engine.runtime.protocol import Event, Stats
from toolkit.engine.runtime.tensorrt_llm.gauges import Report
from toolkit.engine.runtime.tensorrt_llm.requests import Job
from toolkit.errors import EngineDeadError, EngineError, RequestError


class Ledger:
    """Every method may be called from any thread."""

    def __init__(self, slots: int) -> None:
        # a stream that is collected while the lock is held cancels its request on the same thread
        self._lock = threading.RLock()
        self._live: dict[str, Job] = {}
        self._totals = Stats(0, 0, slots, 0, 0, 0, 0, 0, 0, 0)
        self._ended: EngineError | None = None

    @property
    def used(self) -> bool:
        """Whether any request has been answered."""
        return self._totals.prompt_tokens > 0

    def add(self, job: Job) -> None:
        """Raises what ended the engine, and RequestError for an id that is in use."""
        request_id = job.request.request_id
        with self._lock:
            if self._ended is not None:
                raise type(self._ended)(self._ended.what)
            if request_id in self._live:
                raise RequestError(f"request id {request_id!r} is in use")
            self._live[request_id] = job

    def find(self, request_id: str) -> Job | None:
        with self._lock:
            return self._live.get(request_id)

    def holds(self, job: Job) -> bool:
        return self.find(job.request.request_id) is job

    def record(self, job: Job, event: Event) -> bool:
        """Count an event, whose finish reason takes the request out; False if it is out already."""
        with self._lock:
            if self._live.get(job.request.request_id) is not job:
                return False
            prompt_tokens = 0 if job.answered else len(job.request.prompt_ids)
            job.answered = True
            self._count(prompt_tokens=prompt_tokens, generated_tokens=len(event.token_ids))
            if event.finish_reason is not None:
                self._remove(job, finished=1)
            return True

    def retire(self, job: Job, **outcome: int) -> bool:
        """Take a request out; False if it is out already. ``outcome`` is what to count."""
        with self._lock:
            if self._live.get(job.request.request_id) is not job:
                return False
            self._remove(job, **outcome)
            return True

    def end(self, error: EngineError) -> None:
        """End every live request with ``error``, and every later one with the first such error."""
        with self._lock:
            self._ended = self._ended or error
            jobs = tuple(self._live.values())
            self._live.clear()
        for job in jobs:
            job.mailbox.post(type(error)(error.what))

    def stats(self, report: Report) -> Stats:
        """Raises ``EngineDeadError`` that ended the engine."""
        with self._lock:
            if isinstance(self._ended, EngineDeadError):
                raise EngineDeadError(self._ended.what)
            live = len(self._live)
            # requests wait for a slot, or for KV blocks, of which only the runtime knows
            waiting = max(live - self._totals.slots, min(live, report.queued))
            return replace(
                self._totals,
                running=live - waiting,
                waiting=waiting,
                kv_tokens=report.kv_tokens,
                kv_capacity=report.kv_capacity,
                steps=report.steps,
                extra=report.extra,
            )

    def _remove(self, job: Job, **outcome: int) -> None:
        if self._live.pop(job.request.request_id, None) is not None:
            self._count(**outcome)

    def _count(self, **more: int) -> None:
        self._totals = replace(self._totals, **{name: getattr(self._totals, name) + n for name, n in more.items()})
