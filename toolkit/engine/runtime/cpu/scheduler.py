"""Which rows the next step computes, and what its logits mean for each request.

Continuous batching: a request gets the lowest free slot in the order of arrival and keeps it until it ends. A step
takes one row of every decoding request, then fills up with prompt chunks, the earliest request first.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

import numpy as np

from toolkit.engine.runtime.cpu.batch import F32, Ints
from toolkit.engine.runtime.protocol import FinishReason, Request, TokenLogprob
from toolkit.engine.runtime.sampling import Sampler
from toolkit.errors import EngineError


@dataclass(eq=False, slots=True)
class Sequence:
    """One live request. ``tokens`` are prompt and output; the first ``computed`` of them are in the cache.

    Times are those of ``time.monotonic_ns()``; the scheduler sets ``scheduled_ns`` when a slot is given.
    """

    request: Request
    sampler: Sampler
    arrival_ns: int = field(default_factory=time.monotonic_ns)
    scheduled_ns: int | None = None
    first_token_ns: int | None = None
    tokens: list[int] = field(init=False)
    computed: int = 0
    slot: int | None = None

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt_ids)

    @property
    def pending(self) -> int:
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - len(self.request.prompt_ids)


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` rows of one sequence in a step."""

    sequence: Sequence
    count: int

    @property
    def samples(self) -> bool:
        """Whether the last row is the newest token, so that its logits choose the next one."""
        return self.count == self.sequence.pending


@dataclass(frozen=True, slots=True)
class Step:
    """The spans, slots ascending, and the arrays that ``Model.step`` takes."""

    spans: tuple[Span, ...]
    tokens_T: Ints
    positions_T: Ints
    slots_T: Ints
    logit_rows_R: Ints


@dataclass(frozen=True, slots=True)
class Outcome:
    """One new token of ``sequence``; it has left its slot where ``finish_reason`` is set."""

    sequence: Sequence
    token: int
    logprob: TokenLogprob | None
    finish_reason: FinishReason | None


@dataclass(frozen=True, slots=True)
class Failure:
    """No token could be chosen for ``sequence``; it has left its slot."""

    sequence: Sequence
    error: EngineError


class Scheduler:
    """Not thread-safe. ``slots`` is at most ``max_num_tokens``, so that every decoding request fits into a step."""

    def __init__(self, *, slots: int, max_num_tokens: int, max_seq_len: int) -> None:
        self.slots = min(slots, max_num_tokens)
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self._max_num_tokens = max_num_tokens
        self._max_seq_len = max_seq_len
        self._free = list(range(self.slots))

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a live sequence out and free its slot."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        heapq.heappush(self._free, sequence.slot)
        sequence.slot = None

    def next_step(self) -> Step | None:
        """The next step, or None when there is nothing to do."""
        while self.waiting and self._free:
            sequence = self.waiting.popleft()
            sequence.slot = heapq.heappop(self._free)
            sequence.scheduled_ns = time.monotonic_ns()
            self.running.append(sequence)
        if not self.running:
            return None
        budget = self._max_num_tokens
        counts = {id(sequence): 1 for sequence in self.running if sequence.pending == 1}
        budget -= len(counts)
        for sequence in self.running:
            if sequence.pending > 1 and budget:
                counts[id(sequence)] = min(sequence.pending, budget)
                budget -= counts[id(sequence)]
        chosen = sorted((s for s in self.running if id(s) in counts), key=_slot)
        return _step([Span(sequence, counts[id(sequence)]) for sequence in chosen])

    def complete(self, step: Step, logits_RV: F32) -> list[Outcome | Failure]:
        """Take the step's logits: choose the next tokens, end what is done and what nothing can be chosen for."""
        sampling = [span for span in step.spans if span.samples]
        for span in step.spans:
            span.sequence.computed += span.count
        return [self._advance(span.sequence, row) for span, row in zip(sampling, logits_RV, strict=True)]

    def _advance(self, sequence: Sequence, logits_V: F32) -> Outcome | Failure:
        try:
            token, logprob = sequence.sampler.choose(logits_V)
        except EngineError as error:
            self.remove(sequence)
            return Failure(sequence, error)
        sequence.tokens.append(token)
        reason: FinishReason | None = None
        if token in sequence.sampler.ends:
            reason = "stop"
        elif sequence.generated >= sequence.request.sampling.max_tokens or len(sequence.tokens) >= self._max_seq_len:
            reason = "length"
        if reason is not None:
            self.remove(sequence)
        return Outcome(sequence, token, logprob, reason)


def _slot(sequence: Sequence) -> int:
    assert sequence.slot is not None
    return sequence.slot


def _step(spans: Rows[Span]) -> Step:
    tokens: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    logit_rows: list[int] = []
    for span in spans:
        begin, end = span.sequence.computed, span.sequence.computed + span.count
        tokens += span.sequence.tokens[begin:end]
        positions += range(begin, end)
        slots += [_slot(span.sequence)] * span.count
        if span.samples:
            logit_rows.append(len(tokens) - 1)
    arrays = (np.array(values, dtype=np.intp) for values in (tokens, positions, slots, logit_rows))
    return Step(tuple(spans), *arrays)
