"""The adapter: upstream's results are read on one event loop in a thread of its own; events go to who submitted.

``LLM.generate_async`` and its results belong to the loop on which they are made, so all of them live on that loop. A
second thread watches the runtime's health: a runtime that shuts itself down may hold up the loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from toolkit.checkpoint.source import read_json
from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime.check import check
from toolkit.engine.runtime.end_tokens import read_eos_ids
from toolkit.engine.runtime.protocol import Event, Request, Stats
from toolkit.engine.runtime.stream import EventStream, Mailbox, post_together
from toolkit.engine.runtime.tensorrt_llm.arguments import has_cpp_sampler, read_args
from toolkit.engine.runtime.tensorrt_llm.gauges import Gauges
from toolkit.engine.runtime.tensorrt_llm.health import failure, worker_pids
from toolkit.engine.runtime.tensorrt_llm.ledger import Ledger
from toolkit.engine.runtime.tensorrt_llm.outputs import Deltas
from toolkit.engine.runtime.tensorrt_llm.requests import ANY_TOKEN, Job
from toolkit.engine.runtime.tensorrt_llm.sampling import sampling_kwargs
from toolkit.engine.runtime.tensorrt_llm.start import find, start
from toolkit.engine.runtime.tensorrt_llm.words import failed, one_line, refused
from toolkit.errors import CheckpointError, EngineDeadError, EngineError, RequestError

WATCH_S = 0.5
STATS_S = 1.0
"""How often the runtime's health and its statistics are looked at."""

SHUTDOWN_S = 30.0
"""How long ``close`` waits for a runtime that may be dead."""


class TrtllmEngine:
    """A bundle on TensorRT-LLM; implements ``Engine``. ``stats().steps`` are the runtime's iterations."""

    def __init__(
        self,
        llm: Any,
        make_params: Callable[..., Any],
        eos_ids: tuple[int, ...],
        *,
        vocab_size: int,
        slots: int,
        max_seq_len: int,
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        """``llm`` is upstream's, ``make_params`` its SamplingParams; ``ignored`` are what its sampler does not know."""
        self.max_seq_len = max_seq_len
        self._llm = llm
        self._make_params = make_params
        self._eos_ids = eos_ids
        self._vocab_size = vocab_size
        self._ignored = ignored
        self._ledger = Ledger(slots)
        self._workers = worker_pids(os.getpid())
        self._closing = threading.Event()
        self._closes = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._threads = [
            threading.Thread(target=self._loop.run_forever, name="trtkit-trtllm", daemon=True),
            threading.Thread(target=self._watch, name="trtkit-trtllm-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._outbox: dict[Job, Event] = {}
        self._gauges = Gauges(llm, STATS_S, self._loop, lambda: self._ledger.used)

    @classmethod
    def open(cls, bundle: Bundle) -> Self:
        """Start the runtime on the bundle, which takes minutes for a large model.

        Raises EngineError with one line for a TensorRT-LLM that is missing, broken, of another release or does not
        start, and on every rank but the first once that has ended; CheckpointError for a checkpoint whose end tokens
        or vocabulary size are none, before anything starts.
        """
        api, args = find(bundle), read_args(bundle)
        eos_ids = read_eos_ids(bundle.checkpoint_dir)
        vocab_size = _vocab_size(bundle.checkpoint_dir / "config.json")
        limits, parallel = bundle.recipe.engine, bundle.recipe.target.parallel
        return cls(
            start(bundle, args, api),
            api.sampling_params,
            eos_ids,
            vocab_size=vocab_size,
            # with attention data parallelism every rank has a batch of its own
            slots=limits.max_batch_size * (parallel.tp if parallel.attention_dp else 1),
            max_seq_len=limits.max_seq_len,
            ignored=frozenset() if has_cpp_sampler(args) else api.ignored,
        )

    def submit(self, request: Request) -> EventStream:
        """See ``Engine.submit``. Call it on the event loop that will read the stream."""
        check(request, vocab_size=self._vocab_size, max_seq_len=self.max_seq_len, eos_ids=self._eos_ids)
        sampling = request.sampling
        try:
            params = self._make_params(**sampling_kwargs(sampling, self._eos_ids, self._ignored))
        except (ValueError, TypeError) as error:
            raise RequestError(one_line(error)) from None
        ends = {*sampling.stop_token_ids, *(() if sampling.ignore_eos else self._eos_ids)}
        job = Job(request, params, Mailbox(), Deltas(frozenset(ends), sampling.logprobs))
        self._ledger.add(job)
        self._on_loop(self._start, job)
        return EventStream(job.mailbox, partial(self._cancel, job))

    def cancel(self, request_id: str) -> None:
        if (job := self._ledger.find(request_id)) is not None:
            self._cancel(job)

    def stats(self) -> Stats:
        return self._ledger.stats(self._gauges.report)

    def close(self) -> None:
        with self._closes:
            if not self._closing.is_set():
                self._ledger.end(EngineError("the engine was closed"))
                self._closing.set()
                self._take_down()

    def _take_down(self) -> None:
        shutdown = threading.Thread(target=self._shut_down, name="trtkit-trtllm-shutdown", daemon=True)
        shutdown.start()
        shutdown.join(SHUTDOWN_S)
        self._gauges.stop(SHUTDOWN_S)
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop)
        for thread in self._threads:
            thread.join(SHUTDOWN_S)
        if not any(thread.is_alive() for thread in self._threads):
            self._loop.close()

    # On the adapter's loop

    def _start(self, job: Job) -> None:
        if self._ledger.holds(job):
            job.task = self._loop.create_task(self._serve(job))

    async def _serve(self, job: Job) -> None:
        prompt, streaming = list(job.request.prompt_ids), job.request.streaming
        try:
            job.result = self._llm.generate_async(prompt, sampling_params=job.params, streaming=streaming)
        except Exception as error:  # upstream raises what it likes
            self._fail(job, error, refused(error))
            return
        try:
            async for result in job.result:
                event = job.deltas.take(result, time.monotonic_ns())
                if event is not None:
                    self._report(job, event)
                if result.finished:
                    return
        except Exception as error:  # as above, and what ``take`` raises
            self._fail(job, error, error if isinstance(error, EngineError) else failed(error))
        else:
            self._fail(job, None, EngineError("TensorRT-LLM ended the request without saying why"))

    def _report(self, job: Job, event: Event) -> None:
        """Send an event with all others of this turn of the loop, so that one iteration wakes the readers once."""
        if not self._ledger.record(job, event):
            return
        if job in self._outbox:
            self._flush()
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox[job] = event

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, {}
        unread = post_together({job.mailbox: event for job, event in outbox.items()})
        for job in outbox:
            if job.mailbox in unread:
                self._cancel(job)

    def _fail(self, job: Job, cause: Exception | None, error: EngineError) -> None:
        """End the request with its error, or everything if the runtime is dead."""
        self._flush()
        reason = None if isinstance(error, RequestError) else failure(self._llm, self._workers)
        if reason is not None:
            said = "" if cause is None or one_line(cause) in reason else f": {one_line(cause)}"
            self._die(reason + said)
        elif self._ledger.retire(job, failed=1):
            job.mailbox.post(error)
            self._abort(job)

    def _abort(self, job: Job) -> None:
        if job.result is not None and not job.result.finished:
            try:
                job.result.abort()
            except Exception as error:  # of a runtime that goes down, which the watch finds out
                self._log(f"TensorRT-LLM did not abort a request: {one_line(error)}")
        if job.task is not None and job.task is not asyncio.current_task(self._loop):
            job.task.cancel()

    async def _finish(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._loop.stop()

    # From any thread

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_S):
            reason = failure(self._llm, self._workers)
            if reason is not None and not self._closing.is_set():
                self._die(reason)
                return

    def _die(self, reason: str) -> None:
        self._ledger.end(EngineDeadError(f"the engine died: {reason}"))

    def _cancel(self, job: Job) -> None:
        if self._ledger.retire(job, cancelled=1):
            job.mailbox.post(Event((), time.monotonic_ns(), finish_reason="cancelled"))
            self._on_loop(self._abort, job)

    def _on_loop(self, call: Callable[[Job], None], job: Job) -> None:
        # a loop that is closed by now has ended the request
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, job)

    def _shut_down(self) -> None:
        try:
            self._llm.shutdown()
        except Exception as error:  # a dead runtime raises what it died of once more
            self._log(f"TensorRT-LLM did not shut down cleanly: {one_line(error)}")

    def _log(self, message: str) -> None:
        self._loop.call_exception_handler({"message": message})


def _vocab_size(config: Path) -> int:
    size = read_json(config).get("vocab_size")
    if size is None:
        return ANY_TOKEN
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise CheckpointError(f"vocab_size is {size!r}, not a number of tokens", where=str(config))
    return size
