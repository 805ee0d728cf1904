"""The served model: Triton requests ⟷ ``Engine``. What ``triton_repo``'s model.py calls.

Triton calls ``execute`` on its own thread; that only checks and schedules. All answers are made on one asyncio loop, in
a thread that lives from ``load`` to ``close``. Every request is ended with Triton's final flag, whatever happens to it.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime.protocol import Engine, Request
from toolkit.engine.text import TextEvent, Tokenizer, generate_text
from toolkit.errors import EngineDeadError, EngineError, RequestError, TrtkitError
from toolkit.serving.inputs import Inputs, parse
from toolkit.serving.metrics import Metrics, Outcome
from toolkit.serving.reply import Outputs, Reply
from toolkit.serving.tensors import INPUTS, QUEUE_FULL

INPUT_NAMES = tuple(name for spec in INPUTS for name in spec.names)
LAST_WORDS_S = 1.0
MAX_TOKEN_BYTES = 256
"""No vocabulary has longer tokens, so text beyond this many bytes for each token of the context cannot fit."""

POLL_S = 0.02
"""How long a client's cancel may go unseen. Asking Triton costs about as much as a response, so not at every token."""


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way through the engine."""

    request_id: str
    sender: Any
    inputs: Inputs
    polled_s: float = 0.0


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
        on_dead: Callable[[], None] = lambda: os._exit(1),
    ) -> None:
        """``pb`` is ``triton_python_backend_utils``. ``interval`` is tokens per streamed response.

        ``on_dead`` is called ``LAST_WORDS_S`` after the engine died, when its requests have their errors. A dead engine
        never comes back, so by default the model process ends: that is what whoever watches the server can see.
        """
        self._on_dead = on_dead
        self._dying = False
        self._pb = pb
        self._engine = engine
        self._tokenizer = tokenizer
        self._metrics = metrics
        self._limit = engine.stats().slots + max_queue_size
        self._interval = interval
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
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
            )
        except TrtkitError as error:
            raise pb.TritonModelException(_one_line(error)) from None

    def execute(self, requests: Iterable[Any]) -> None:
        """Take over Triton requests; answers follow through their response senders."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                job = self._accept(request, sender)
            except Exception as error:
                self._refuse(sender, error)
            else:
                self._jobs[job.request_id] = job
                asyncio.run_coroutine_threadsafe(self._answer(job), self._loop)

    def close(self) -> None:
        """End every open request with an error, then stop engine and loop."""
        self._engine.close()
        asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _accept(self, request: Any, sender: Any) -> Job:
        for name in json.loads(request.parameters() or "{}"):
            near = get_close_matches(name, INPUT_NAMES, n=1)
            hint = f"Send {near[0]!r} as an input tensor" if near else None
            raise RequestError(f"unknown request parameter {name!r}", hint=hint)
        inputs = parse({tensor.name(): tensor.as_numpy() for tensor in request.inputs()})
        if len(self._jobs) >= self._limit:
            raise QueueFull(f"{QUEUE_FULL}: {self._limit} requests are running or waiting")
        return Job(f"{request.request_id()}#{next(self._numbers)}", sender, inputs)

    def _refuse(self, sender: Any, error: Exception) -> None:
        self._metrics.count("rejected")
        self._send_error(sender, error)

    async def _answer(self, job: Job) -> None:
        """Stream one request. Everything is counted before the final response, so whoever has that can read it."""
        try:
            last, outputs = await self._stream(job)
        except Exception as error:
            self._finish(job, "rejected" if isinstance(error, RequestError) else "failed")
            self._send_error(job.sender, error)
            if isinstance(error, EngineDeadError) and not self._dying:
                self._dying = True
                self._loop.call_later(LAST_WORDS_S, self._on_dead)
            return
        if last.finish_reason == "cancelled":
            self._finish(job, "cancelled")
            self._send_error(job.sender, Cancelled("the client cancelled the request"))
            return
        self._finish(job, "completed", last.prompt_tokens, last.output_tokens)
        self._send(job.sender, outputs, final=True)

    def _finish(self, job: Job, outcome: Outcome, prompt_tokens: int = 0, output_tokens: int = 0) -> None:
        # from here on nothing may ask the sender for cancels: it is about to be closed
        del self._jobs[job.request_id]
        self._metrics.count(outcome, prompt_tokens, output_tokens)
        self._metrics.show(self._engine.stats())

    async def _stream(self, job: Job) -> tuple[TextEvent, Outputs]:
        """Send all responses of one request but the last; returns the last event and its outputs."""
        inputs = job.inputs
        prompt_ids, prompt = await self._prompt(inputs)
        reply = Reply(inputs, prompt=prompt, interval=self._interval)
        events = generate_text(
            self._engine,
            self._tokenizer,
            Request(job.request_id, prompt_ids, inputs.sampling),
            inputs.stop,
            skip_special_tokens=inputs.skip_special_tokens,
        )
        async with aclosing(events):
            async for event in events:
                outputs = reply.add(event)
                if event.finish_reason is not None:
                    return event, outputs or {}
                if not self._cancelled(job) and outputs is not None:
                    self._send(job.sender, outputs)
        raise EngineError("the engine ended the request without saying why")

    async def _prompt(self, inputs: Inputs) -> tuple[tuple[int, ...], str]:
        if inputs.text is not None:
            size, limit = len(inputs.text.encode()), self._engine.max_seq_len * MAX_TOKEN_BYTES
            if size > limit:
                what = f"input 'text_input' has {size} bytes, more than fit into {self._engine.max_seq_len} tokens"
                raise RequestError(what, hint="Shorten it, or build with a larger engine.max_seq_len")
            # in a thread, because long texts take long and every stream waits for this loop
            return tuple(await asyncio.to_thread(self._tokenizer.encode, inputs.text)), inputs.text
        ids = inputs.token_ids or ()
        return ids, self._tokenizer.decode(ids, skip_special_tokens=inputs.skip_special_tokens) if inputs.echo else ""

    async def _watch(self) -> None:
        """See cancels of requests that wait without events, and keep the gauges fresh."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                for job in tuple(self._jobs.values()):
                    self._cancelled(job)
                self._metrics.show(self._engine.stats())
            except Exception as error:
                # without the watch no waiting request could be cancelled any more
                self._pb.Logger.log_error(f"trtkit: {type(error).__name__}: {_one_line(error)}")

    def _cancelled(self, job: Job) -> bool:
        """Whether the client is gone; if so the engine is told. Asks Triton at most once in ``POLL_S``."""
        now = self._loop.time()
        if now - job.polled_s < POLL_S:
            return False
        job.polled_s = now
        if gone := bool(job.sender.is_cancelled()):
            self._engine.cancel(job.request_id)
        return gone

    async def _drain(self) -> None:
        self._watcher.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _send(self, sender: Any, outputs: Outputs, *, final: bool = False) -> None:
        tensors = [self._pb.Tensor(name, array) for name, array in outputs.items()]
        flags = self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0
        sender.send(self._pb.InferenceResponse(output_tensors=tensors), flags=flags)

    def _send_error(self, sender: Any, error: Exception) -> None:
        text = _one_line(error)
        if not isinstance(error, TrtkitError):
            text = f"{type(error).__name__}: {text}"
            self._pb.Logger.log_error(f"trtkit: {text}")
        response = self._pb.InferenceResponse(output_tensors=[], error=self._pb.TritonError(text, self._code(error)))
        sender.send(response, flags=self._pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _code(self, error: Exception) -> Any:
        codes = self._pb.TritonError
        if isinstance(error, QueueFull):
            return codes.UNAVAILABLE
        if isinstance(error, Cancelled):
            return codes.CANCELLED
        return codes.INVALID_ARG if isinstance(error, RequestError) else codes.INTERNAL


class QueueFull(EngineError):
    """The request may succeed later."""


class Cancelled(EngineError):
    """The client is gone; nobody may read this."""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
