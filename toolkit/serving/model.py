"""The served model: Triton requests ⟷ ``Engine``. What ``triton_repo``'s model.py calls.

Triton calls ``execute`` on its own thread; that only checks and schedules. All answers are made on one asyncio loop, in
a thread that lives from ``load`` to ``close``. Every request is ended with Triton's final flag, whatever happens to it.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from typing import Any

from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime.protocol import Engine, Request
from toolkit.engine.text import TextEvent, Tokenizer, generate_text
from toolkit.errors import EngineDeadError, EngineError, RequestError, TrtkitError
from toolkit.serving.coalescer import Coalescer
from toolkit.serving.inputs import Inputs
from toolkit.serving.job import Job, first_token_ns, measured, receive
from toolkit.serving.metrics import Metrics, Outcome
from toolkit.serving.reply import Reply
from toolkit.serving.responder import CancelledError, QueueFullError, Responder, one_line
from toolkit.serving.tensors import QUEUE_FULL

LAST_WORDS_S = 1.0

POLL_S = 0.02
"""How often the watch looks. The gauges are set at every ``SHOW_EVERY``-th look."""

SHOW_EVERY = 5

ASK_S, ASK_AT_MOST_S = 0.005, 1.0
"""How long a client's cancel may go unseen: the first for each open request, as asking is a round trip to Triton."""


class ServedModel:
    """One engine behind one Triton model instance."""

    def __init__(
        self,
        pb: Any,
        engine: Engine,
        tokenizer: Tokenizer,
        metrics: Metrics,
        *,
        max_queue_size: int,
        interval: int,
        coalesce: bool = True,
        on_dead: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        """``pb`` is ``triton_python_backend_utils``. ``interval`` is tokens per streamed response.

        ``on_dead`` is called ``LAST_WORDS_S`` after the engine died, when its requests have their errors. A dead engine
        never comes back, so by default the model process ends: that is what whoever watches the server can see.
        """
        self._on_dead = on_dead
        self._engine = engine
        self._tokenizer = tokenizer
        self._metrics = metrics
        self._responder = Responder(pb)
        self._limit = engine.stats().slots + max_queue_size
        self._interval = interval
        self._dead = False
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._coalescer = Coalescer(self._loop, self._send, enabled=coalesce)
        self._thread = threading.Thread(target=self._loop.run_forever, name="trtkit-answers", daemon=True)
        self._thread.start()
        self._watcher = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    @classmethod
    def load(cls, pb: Any, model_name: str, parameters: Mapping[str, str]) -> ServedModel:
        """Open the bundle and engine that the parameters of config.pbtxt name.

        Raises Triton's own exception, whose text is then the reason why the model does not load.
        """
        try:
            bundle = Bundle.open(Path(parameters["bundle"]))
            tokenizer = Tokenizer.open(bundle.tokenizer_dir)
            module, _, attribute = parameters["engine_factory"].partition(":")
            engine: Engine = getattr(importlib.import_module(module), attribute)(bundle)
            return cls(
                pb,
                engine,
                tokenizer,
                Metrics(pb, model_name),
                max_queue_size=int(parameters["max_queue_size"]),
                interval=bundle.recipe.engine.stream_interval,
                coalesce=parameters["coalesce"] == "true",
            )
        except TrtkitError as error:
            raise pb.TritonModelException(one_line(error)) from None

    @property
    def ready(self) -> bool:
        """False once the engine is dead, or the loop that answers is."""
        return self._thread.is_alive() and not self._dead

    def execute(self, requests: Iterable[Any]) -> None:
        """Take over Triton requests; answers follow through their response senders."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                job = self._accept(request, sender)
            except Exception as error:
                # whatever is wrong with one request must not reach the others in this call
                self._metrics.count("rejected")
                self._responder.fail(sender, error)
                continue
            if job.inputs.cancel:
                answer = self._stop(job)
            else:
                self._jobs[job.request_id] = job
                answer = self._answer(job)
            asyncio.run_coroutine_threadsafe(answer, self._loop).add_done_callback(self._tell)

    def close(self) -> None:
        """End every open request with an error, then stop engine and loop."""
        self._engine.close()
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _accept(self, request: Any, sender: Any) -> Job:
        job = receive(request, sender, next(self._numbers), max_seq_len=self._engine.max_seq_len)
        if not job.inputs.cancel and len(self._jobs) >= self._limit:
            raise QueueFullError(f"{QUEUE_FULL}: {self._limit} requests are running or waiting")
        return job

    def _tell(self, answered: Future[None]) -> None:
        """Nobody waits for an answer to be made: what went wrong at its very end stands in the log alone."""
        if (error := answered.exception()) is not None:
            self._responder.log(f"{type(error).__name__}: {one_line(error)}")

    async def _stop(self, job: Job) -> None:
        """Cancel all requests with the client's id, as NVIDIA's model does, and answer with an empty response."""
        try:
            for other in tuple(self._jobs.values()):
                if other.client_id == job.client_id:
                    self._cancel(other)
        finally:
            self._responder.send(job.sender, {}, final=True)

    async def _answer(self, job: Job) -> None:
        """Stream one request. Everything is counted before the final response, so whoever has that can read it."""
        try:
            last = await self._stream(job)
            if last.finish_reason == "cancelled":
                raise job.failure or CancelledError("the client cancelled the request")
            last = measured(last, job)
            outputs = job.reply.take_last(last)
        except Exception as error:
            self._finish(job, _outcome(error))
            if isinstance(error, EngineDeadError):
                self._die()
            self._responder.fail(job.sender, error)
            return
        self._finish(job, "completed", last)
        self._responder.send(job.sender, outputs, final=True)

    def _die(self) -> None:
        if not self._dead:
            self._dead = True
            self._loop.call_later(LAST_WORDS_S, self._on_dead)

    def _finish(self, job: Job, outcome: Outcome, last: TextEvent | None = None) -> None:
        job.ended = True
        del self._jobs[job.request_id]
        self._metrics.count(outcome)
        if last is not None:
            self._metrics.completed(last)

    async def _stream(self, job: Job) -> TextEvent:
        """Send all responses of one request but the last; returns the last event, whose tokens the reply holds."""
        inputs = job.inputs
        prompt_ids, prompt = await self._prompt(inputs)
        if job.stopped:
            raise CancelledError("the client cancelled the request")
        job.reply = Reply(inputs, prompt=prompt, interval=self._interval)
        # a stop string has to be seen before the engine has made the whole
        request = Request(job.request_id, prompt_ids, inputs.sampling, inputs.streaming or bool(inputs.stop))
        events = generate_text(
            self._engine, self._tokenizer, request, inputs.stop, skip_special_tokens=inputs.skip_special_tokens
        )
        async with aclosing(events):
            async for event in events:
                job.reply.add(event)
                if job.first_token_ns is None and event.token_ids:
                    self._saw_first_token(job, event)
                if event.finish_reason is not None:
                    return event
                self._coalescer.offer(job)
        raise EngineError("the engine ended the request without saying why")

    def _saw_first_token(self, job: Job, event: TextEvent) -> None:
        job.first_token_ns = first_token_ns(event, job.arrived_ns)
        if job.first_token_ns is not None:
            self._metrics.first_token((job.first_token_ns - job.arrived_ns) / 1e9)

    async def _prompt(self, inputs: Inputs) -> tuple[tuple[int, ...], str]:
        if inputs.text is not None:
            # in a thread, because long texts take long and every stream waits for this loop
            return tuple(await asyncio.to_thread(self._tokenizer.encode, inputs.text)), inputs.text
        ids = inputs.token_ids or ()
        return ids, self._tokenizer.decode(ids, skip_special_tokens=inputs.skip_special_tokens) if inputs.echo else ""

    async def _watch(self) -> None:
        """See cancels and a death between requests, let waiting tokens go and keep the gauges fresh."""
        for look in itertools.count():
            await asyncio.sleep(POLL_S)
            try:
                jobs = tuple(self._jobs.values())
                self._coalescer.sweep(jobs)
                self._ask(jobs)
                if look % SHOW_EVERY == 0:
                    self._metrics.show(self._engine.stats())
            except EngineDeadError as error:
                if not self._dead:
                    self._responder.log(one_line(error))
                self._die()
            except Exception as error:
                # without the watch no request could be cancelled any more
                self._responder.log(f"{type(error).__name__}: {one_line(error)}")

    def _ask(self, jobs: tuple[Job, ...]) -> None:
        """Tell the engine which clients are gone. A request that it did not know yet is cancelled once it does."""
        now, period = self._loop.time(), min(ASK_AT_MOST_S, ASK_S * len(jobs))
        for job in jobs:
            if job.stopped:
                self._cancel(job)
            elif now - job.polled_s >= period:
                job.polled_s = now
                if job.sender.is_cancelled():
                    self._cancel(job)

    def _cancel(self, job: Job) -> None:
        job.stopped = True
        self._engine.cancel(job.request_id)

    async def _drain(self) -> None:
        self._watcher.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _send(self, job: Job) -> None:
        try:
            self._responder.send(job.sender, job.reply.take())
        except Exception as error:
            # nobody awaits this: the stream that cannot be sent to is ended, the others go on
            job.failure = error
            self._cancel(job)


def _outcome(error: Exception) -> Outcome:
    if isinstance(error, CancelledError):
        return "cancelled"
    return "rejected" if isinstance(error, RequestError) else "failed"
