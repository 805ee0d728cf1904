"""The requests of one trial: pure, and for the same arguments the same on every machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from toolkit.bench.workload.lengths import Lengths, draw_lengths
from toolkit.bench.workload.tokens import Content, Prompt
from toolkit.errors import RecipeError

TRIES_PER_PROMPT = 100


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """One request to send: ``prompt_ids`` decode to exactly ``output_tokens`` tokens, end tokens or not.

    ``arrival_s`` is a trace's: seconds from the beginning of the measurement.
    """

    id: int
    prompt_ids: Prompt
    output_tokens: int
    arrival_s: float | None = None


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Requests whose lengths are drawn, input and output independently."""

    isl: Lengths
    osl: Lengths
    content: Content


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests as a file has them, in its order; ``content`` is what others are warmed up with."""

    requests: tuple[RequestSpec, ...]
    content: Content
    where: str


Workload = Synthetic | Trace


@dataclass(frozen=True, slots=True)
class Drawn:
    """The requests of one trial. Those of ``warmup`` have prompts that no measured request has."""

    measured: tuple[RequestSpec, ...]
    warmup: tuple[RequestSpec, ...]

    @property
    def sha256(self) -> str:
        """Identifies the measured requests: token ids, output lengths and arrivals, order included."""
        hashed = hashlib.sha256()
        for spec in self.measured:
            arrival = -1 if spec.arrival_s is None else round(spec.arrival_s * 1e9)
            hashed.update(np.array([len(spec.prompt_ids), spec.output_tokens, arrival], "<i8").tobytes())
            hashed.update(np.array(spec.prompt_ids, "<i4").tobytes())
        return hashed.hexdigest()


def draw(workload: Workload, requests: int, warmup: int, *, seed: int, repeat: int = 1) -> Drawn:
    """``requests`` measured and ``warmup`` other requests; ids count from 0 in both.

    A larger draw of the same seed and repeat starts with the same measured requests, so that a curve over concurrency
    does not also vary its prompts. Drawn prompts are all different; a trace's are as they are. Raises ``RecipeError``
    when the workload cannot give that many.
    """
    stream = f"{seed}:{repeat}"
    seen: set[Prompt] = set()
    if isinstance(workload, Trace):
        measured = _first(workload, requests)
        seen.update(spec.prompt_ids for spec in measured)
        lengths: Iterator[tuple[int, int]] = cycle((len(s.prompt_ids), s.output_tokens) for s in measured)
    else:
        drawn = draw_lengths(workload.isl, workload.osl, stream)
        measured = tuple(_specs(islice(drawn, requests), workload.content, f"{stream}:prompts", seen))
        lengths = draw_lengths(workload.isl, workload.osl, f"{stream}:warmup")
    others = tuple(_specs(islice(lengths, warmup), workload.content, f"{stream}:warmup", seen))
    return Drawn(measured, others)


def _first(trace: Trace, count: int) -> tuple[RequestSpec, ...]:
    if count > len(trace.requests):
        what = f"it has {len(trace.requests)} requests, {count} are asked for"
        raise RecipeError(what, where=trace.where, hint="Give a longer trace, or a smaller bench.requests")
    return trace.requests[:count]


def _specs(
    lengths: Iterable[tuple[int, int]], content: Content, stream: str, seen: set[Prompt]
) -> Iterator[RequestSpec]:
    rng = random.Random(stream)
    for number, (isl, osl) in enumerate(lengths):
        yield RequestSpec(number, _new_prompt(rng, content, isl, seen), osl)


def _new_prompt(rng: random.Random, content: Content, length: int, seen: set[Prompt]) -> Prompt:
    """One that is not ``seen``: a prompt that came before would be answered from the server's cache."""
    for _ in range(TRIES_PER_PROMPT):
        if (prompt := content.cut(rng, length)) not in seen:
            seen.add(prompt)
            return prompt
    alike = sum(len(prompt) == length for prompt in seen)
    raise RecipeError(
        f"after {alike} different prompts of {length} tokens no other was found in it",
        where=content.where,
        hint="Give a longer text, or a smaller bench.requests",
    )


def longest_of(specs: Sequence[RequestSpec]) -> int:
    """The most tokens, prompt and output, that one of the requests has; 0 for none."""
    return max((len(spec.prompt_ids) + spec.output_tokens for spec in specs), default=0)
