"""Which trials a sweep consists of, and in which order: pure data."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from toolkit.bench.canonical import digest
from toolkit.errors import RecipeError
from toolkit.recipe import BenchSection, Recipe


@dataclass(frozen=True, slots=True)
class Point:
    """One trial to measure.

    ``isl`` and ``osl`` are tokens, ``concurrency`` is requests in flight, ``requests`` and ``warmup`` count measured
    and unmeasured requests, ``repeat`` counts from 1.
    """

    isl: int
    osl: int
    concurrency: int
    requests: int
    warmup: int
    repeat: int

    @property
    def conditions(self) -> dict[str, int]:
        """What is measured: every field but the repeat."""
        fields = asdict(self)
        del fields["repeat"]
        return fields

    @property
    def point_id(self) -> str:
        """Ten hexadecimal digits that the repeats of a point share."""
        return digest(self.conditions, 10)


def plan_trials(bench: BenchSection) -> tuple[Point, ...]:
    """Every ISL × OSL × concurrency × repeat, in an order shuffled by ``bench.seed``.

    A random order keeps a drift of the machine from looking like an effect of one axis. Each point measures at least
    as many requests as are in flight. Raises ``RecipeError`` for a length or concurrency below 1 or listed twice.
    """
    for name, values in (("isl", bench.isl), ("osl", bench.osl), ("concurrency", bench.concurrency)):
        _check_axis(f"bench.{name}", values)
    points = [
        Point(isl, osl, concurrency, max(bench.requests, concurrency), bench.warmup * concurrency, repeat)
        for isl, osl, concurrency, repeat in itertools.product(
            bench.isl, bench.osl, bench.concurrency, range(1, bench.repeats + 1)
        )
    ]
    random.Random(bench.seed).shuffle(points)
    return tuple(points)


def plan_recipe(recipe: Recipe) -> tuple[Point, ...]:
    """``plan_trials`` of a recipe whose engine can hold every point; ``RecipeError`` otherwise."""
    points = plan_trials(recipe.bench)
    longest = max(point.isl + point.osl for point in points)
    if longest > recipe.engine.max_seq_len:
        raise RecipeError(
            f"a point needs {longest} tokens (ISL + OSL), engine.max_seq_len is {recipe.engine.max_seq_len}",
            where="bench",
            hint=f"Shorten bench.isl or bench.osl, or type: --set engine.max_seq_len={longest}",
        )
    return points


def _check_axis(name: str, values: Sequence[int]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise RecipeError(f"{value} stands twice", where=name, hint="Ask for more trials with bench.repeats")
