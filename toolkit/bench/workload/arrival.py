"""When requests are sent: in answer to each other (closed loop), or at times of their own (open loop)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Literal

from toolkit.bench.workload.draw import RequestSpec
from toolkit.errors import RecipeError
from toolkit.recipe.workload import ArrivalSection

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """``concurrency`` requests in flight: each is sent when another has ended."""

    concurrency: int


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """``rate`` requests a second, whatever is in flight: after exponential gaps (a Poisson process), or evenly."""

    rate: float
    process: Literal["poisson", "constant"]
    seed: int | str


@dataclass(frozen=True, slots=True)
class Replay:
    """Each request at its ``arrival_s``, whatever is in flight."""


Arrival = ClosedLoop | OpenLoop | Replay


def arrival_of(section: ArrivalSection, load: float, *, seed: int, repeat: int = 1) -> Arrival:
    """``load`` is a point's concurrency for a closed loop, its rate for an open one; a replay has none.

    Repeats differ in their gaps as they do in their prompts.
    """
    if section.kind == "closed":
        return ClosedLoop(int(load))
    if section.kind == "trace":
        return Replay()
    return OpenLoop(float(load), section.kind, f"{seed}:{repeat}")


def due_times(arrival: OpenLoop | Replay, specs: Sequence[RequestSpec]) -> tuple[int, ...]:
    """Nanoseconds after the first request at which each is due, in order.

    More requests of the same seed start with the same times. They are whole nanoseconds, so that the last bit of a
    machine's logarithm does not matter. Raises ``RecipeError`` for a replay of requests without times.
    """
    if isinstance(arrival, Replay):
        return _replayed(specs)
    if arrival.process == "constant":
        return tuple(round(number * NS_PER_S / arrival.rate) for number in range(len(specs)))
    return tuple(islice(accumulate(_gaps(arrival), initial=0), len(specs)))


def _gaps(arrival: OpenLoop) -> Iterator[int]:
    rng = random.Random(f"{arrival.seed}:arrival")
    while True:
        yield round(rng.expovariate(arrival.rate) * NS_PER_S)


def _replayed(specs: Sequence[RequestSpec]) -> tuple[int, ...]:
    times = [spec.arrival_s for spec in specs if spec.arrival_s is not None]
    if len(times) < len(specs):
        what = "the requests have no arrival times to be sent at"
        raise RecipeError(what, where="bench.arrival", hint="Give a trace whose lines have arrival_s, or another kind")
    return tuple(round((time - times[0]) * NS_PER_S) for time in times)
