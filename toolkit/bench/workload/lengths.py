"""How many tokens prompts and outputs have: distributions, and draws that are the same on every machine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from toolkit.errors import RecipeError
from toolkit.recipe.workload import WorkloadSection

REDRAWS = 1000
CUT = 3.0
"""Standard deviations from the mean at which a recipe's normal lengths end."""


class Lengths(Protocol):
    """How many tokens a prompt or an output has."""

    @property
    def maximum(self) -> int: ...

    def check(self, where: str) -> None:
        """Raise ``RecipeError`` for lengths that cannot be drawn."""
        ...

    def draw(self, rng: random.Random) -> int: ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every length from ``minimum`` to ``maximum`` with the same probability; both alike for one fixed length."""

    minimum: int
    maximum: int

    def check(self, where: str) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise RecipeError(f"lengths from {self.minimum} to {self.maximum}", where=where, hint="Write 1 ≤ min ≤ max")

    def draw(self, rng: random.Random) -> int:
        return rng.randint(self.minimum, self.maximum)


@dataclass(frozen=True, slots=True)
class Normal:
    """Rounded draws of a normal distribution, drawn anew until from ``minimum`` to ``maximum``."""

    mean: float
    stdev: float
    maximum: int
    minimum: int = 1

    def check(self, where: str) -> None:
        if not (1 <= self.minimum <= self.mean <= self.maximum and 0 <= self.stdev < float("inf")):
            what = f"a mean of {self.mean:g} ± {self.stdev:g} tokens from {self.minimum} to {self.maximum}"
            raise RecipeError(what, where=where, hint="Write 1 ≤ minimum ≤ mean ≤ maximum and stdev ≥ 0")

    def draw(self, rng: random.Random) -> int:
        for _ in range(REDRAWS):
            if self.minimum <= (length := round(rng.normalvariate(self.mean, self.stdev))) <= self.maximum:
                return length
        return round(self.mean)  # a spread so wide that it is uniform


def fixed(length: int) -> Uniform:
    return Uniform(length, length)


def lengths_of(section: WorkloadSection, nominal: int) -> Lengths:
    """The lengths around ``nominal``, a point's ISL or OSL; not for a trace, which has its own.

    ``uniform`` is InferenceX's and vLLM's range ratio: ``nominal`` is the longest length, not the mean. ``normal`` is
    cut as far below the mean as above it, which keeps the mean.
    """
    if section.kind == "uniform" and section.ratio is not None:
        return Uniform(max(1, round(section.ratio * nominal)), nominal)
    if section.kind == "normal" and section.stdev is not None:
        stdev = section.stdev * nominal
        reach = min(int(CUT * stdev), nominal - 1)
        return Normal(nominal, stdev, nominal + reach, nominal - reach)
    return fixed(nominal)


def longest(section: WorkloadSection, isl: int, osl: int) -> int:
    """The most tokens, prompt and output, that a request of this point can have."""
    return lengths_of(section, isl).maximum + lengths_of(section, osl).maximum


def draw_lengths(isl: Lengths, osl: Lengths, seed: int | str) -> Iterator[tuple[int, int]]:
    """(ISL, OSL) of one request after the other, without end, both drawn independently of each other."""
    # a text seed is hashed with SHA-512 by `random`, so it does not depend on PYTHONHASHSEED
    inputs, outputs = random.Random(f"{seed}:isl"), random.Random(f"{seed}:osl")
    while True:
        yield isl.draw(inputs), osl.draw(outputs)
