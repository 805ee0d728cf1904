"""The NumPy adapter: one worker thread steps the model, events go to the event loop of whoever submitted.

Scheduler and live requests change only under the lock; the model's step runs outside it.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.check import check
from toolkit.engine.runtime.cpu.batch import F32
from toolkit.engine.runtime.cpu.blas import set_threads
from toolkit.engine.runtime.cpu.model import Model
from toolkit.engine.runtime.cpu.scheduler import Failure, Outcome, Scheduler, Sequence, Step
from toolkit.engine.runtime.cpu.weights import ExpertStorage, Precision, load_weights, read_config
from toolkit.engine.runtime.end_tokens import read_eos_ids
from toolkit.engine.runtime.protocol import Event, PerfMetrics, Request, Stats
from toolkit.engine.runtime.sampling import Sampler
from toolkit.engine.runtime.stream import EventStream, Mailbox, post_together
from toolkit.errors import EngineDeadError, EngineError, RequestError


class CpuEngine:
    """A gpt-oss model on the CPU; implements ``Engine``."""

    def __init__(
        self, model: Model, eos_ids: tuple[int, ...], *, max_batch_size: int, max_num_tokens: int, max_seq_len: int
    ) -> None:
        self.max_seq_len = max_seq_len
        self._model = model
        self._eos_ids = eos_ids
        self._scheduler = Scheduler(slots=max_batch_size, max_num_tokens=max_num_tokens, max_seq_len=max_seq_len)
        self._live: dict[str, Sequence] = {}
        self._mailboxes: dict[Sequence, Mailbox] = {}
        self._cancelled: set[Sequence] = set()
        self._totals = Stats(0, 0, self._scheduler.slots, 0, self._scheduler.slots * max_seq_len, 0, 0, 0, 0, 0, 0)
        self._ended: EngineError | None = None
        self._closing = False
        self._wake = threading.Condition()
        self._worker = threading.Thread(target=self._run, name="trtkit-cpu-engine", daemon=True)
        self._worker.start()

    @classmethod
    def load(
        cls,
        checkpoint_dir: Path,
        *,
        max_batch_size: int,
        max_num_tokens: int,
        max_seq_len: int,
        precision: Precision = "w4a16",
        experts: ExpertStorage = "dense",
        threads: int = 1,
    ) -> Self:
        """Read the folder and start the worker.

        ``max_num_tokens`` bounds the rows of one step and with it the batch. ``threads`` sets the BLAS threads of the
        whole process; it warns where NumPy's BLAS cannot be told. Raises CheckpointError for a checkpoint that cannot
        run.
        """
        if not set_threads(threads) and threads > 1:
            warnings.warn(
                f"engine.threads is {threads}, but NumPy's BLAS reads the number from its own environment variable",
                RuntimeWarning,
                stacklevel=2,
            )
        with Checkpoint.open(checkpoint_dir) as checkpoint:
            config = read_config(checkpoint)
            weights = load_weights(checkpoint, config, precision=precision, experts=experts)
        model = Model(weights, config, slots=min(max_batch_size, max_num_tokens), max_seq_len=max_seq_len)
        return cls(
            model,
            read_eos_ids(checkpoint_dir),
            max_batch_size=max_batch_size,
            max_num_tokens=max_num_tokens,
            max_seq_len=max_seq_len,
        )

    def submit(self, request: Request) -> EventStream:
        """See ``Engine.submit``. Call it on the event loop that will read the stream."""
        vocab_size = self._model.config.vocab_size
        check(request, vocab_size=vocab_size, max_seq_len=self.max_seq_len, eos_ids=self._eos_ids)
        mailbox = Mailbox()
        sampler = Sampler(request.sampling, request.prompt_ids, vocab_size, self._eos_ids)
        sequence = Sequence(request, sampler)
        with self._wake:
            if self._ended is not None:
                raise type(self._ended)(self._ended.what)
            if request.request_id in self._live:
                raise RequestError(f"request id {request.request_id!r} is in use")
            self._live[request.request_id] = sequence
            self._mailboxes[sequence] = mailbox
            self._scheduler.add(sequence)
            self._wake.notify()
        return EventStream(mailbox, partial(self._cancel, sequence))

    def cancel(self, request_id: str) -> None:
        with self._wake:
            sequence = self._live.get(request_id)
        if sequence is not None:
            self._cancel(sequence)

    def _cancel(self, sequence: Sequence) -> None:
        with self._wake:
            if sequence in self._mailboxes:
                self._cancelled.add(sequence)
                self._wake.notify()

    def stats(self) -> Stats:
        with self._wake:
            if isinstance(self._ended, EngineDeadError):
                raise EngineDeadError(self._ended.what)
            running, waiting = self._scheduler.running, self._scheduler.waiting
            held = sum(sequence.computed for sequence in running)
            return replace(self._totals, running=len(running), waiting=len(waiting), kv_tokens=held)

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._worker.join()

    def _run(self) -> None:
        """The worker's life. Whatever ends it ends every stream; a defect also reaches ``threading.excepthook``."""
        try:
            while self._advance():
                pass
        finally:
            self._end(sys.exception())

    def _advance(self) -> bool:
        """Wait for work and do one step; False when the engine is being closed."""
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self._live)
            if self._closing:
                return False
            self._drop_cancelled()
            step = self._scheduler.next_step()
        if step is None:
            return True
        logits_RV = self._model.step(step.tokens_T, step.positions_T, step.slots_T, step.logit_rows_R)
        with self._wake:
            self._settle(step, logits_RV)
        return True

    def _settle(self, step: Step, logits_RV: F32) -> None:
        """Turn a step's logits into events, or into an error for a request that nothing can be chosen for."""
        prompt_rows = sum(span.count for span in step.spans if not span.sequence.generated)
        now = time.monotonic_ns()
        outcomes = self._scheduler.complete(step, logits_RV)
        tokens = sum(isinstance(outcome, Outcome) for outcome in outcomes)
        self._count(steps=1, prompt_tokens=prompt_rows, generated_tokens=tokens)
        posts = {
            self._mailboxes[outcome.sequence]: outcome.error if isinstance(outcome, Failure) else _event(outcome, now)
            for outcome in outcomes
        }
        unread = post_together(posts)
        for outcome in outcomes:
            if self._mailboxes[outcome.sequence] in unread:
                self._cancelled.add(outcome.sequence)
            if isinstance(outcome, Failure):
                self._count(failed=1)
                self._forget(outcome.sequence)
            elif outcome.finish_reason is not None:
                self._count(finished=1)
                self._forget(outcome.sequence)

    def _drop_cancelled(self) -> None:
        # swapped first: a stream that is collected meanwhile may add itself
        cancelled, self._cancelled = self._cancelled, set()
        for sequence in cancelled:
            self._scheduler.remove(sequence)
            self._mailboxes[sequence].post(Event((), time.monotonic_ns(), finish_reason="cancelled"))
            self._count(cancelled=1)
            self._forget(sequence)

    def _forget(self, sequence: Sequence) -> None:
        del self._live[sequence.request.request_id]
        del self._mailboxes[sequence]
        self._cancelled.discard(sequence)

    def _count(self, **more: int) -> None:
        self._totals = replace(self._totals, **{name: getattr(self._totals, name) + n for name, n in more.items()})

    def _end(self, cause: BaseException | None) -> None:
        if cause is None:
            ended = EngineError("the engine was closed")
        else:
            ended = EngineDeadError(f"the engine died: {type(cause).__name__}: {cause}")
        with self._wake:
            self._ended = ended
            for mailbox in self._mailboxes.values():
                mailbox.post(type(ended)(ended.what))
            self._live.clear()
            self._mailboxes.clear()


def _event(outcome: Outcome, now: int) -> Event:
    sequence, logprobs = outcome.sequence, () if outcome.logprob is None else (outcome.logprob,)
    if sequence.first_token_ns is None:
        sequence.first_token_ns = now
    return Event(
        (outcome.token,),
        now,
        logprobs,
        outcome.finish_reason,
        outcome.token if outcome.finish_reason == "stop" else None,
        cached_tokens=0,  # a slot's cache starts empty with every request
        perf=_measured(sequence, now),
    )


def _measured(sequence: Sequence, now: int) -> PerfMetrics:
    """There are no paged blocks and no drafts to count."""
    return PerfMetrics(sequence.arrival_ns, sequence.scheduled_ns, sequence.first_token_ns, now)
