"""Which points a sweep consists of, and in which order: pure data."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from toolkit.bench.canonical import digest
from toolkit.bench.workload.lengths import longest as longest_of
from toolkit.errors import RecipeError
from toolkit.recipe import DEFAULT, BenchSection, Recipe, variants_of


@dataclass(frozen=True, slots=True)
class Point:
    """One trial to measure.

    ``isl`` and ``osl`` are tokens, 0 where a trace has them. ``concurrency`` is requests in flight, 0 in an open loop,
    which has a ``rate`` of requests a second (None for a replay). ``requests`` and ``warmup`` count measured and
    unmeasured requests, ``repeat`` counts from 1.
    """

    isl: int
    osl: int
    concurrency: int
    requests: int
    warmup: int
    repeat: int
    variant: str = DEFAULT
    rate: float | None = None

    @property
    def conditions(self) -> dict[str, int | float | str]:
        """What is measured: every field but the repeat, and but those that schema 1 had not where they say nothing."""
        usual = {"variant": DEFAULT, "rate": None}
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "repeat" and (name not in usual or value != usual[name])
        }

    @property
    def load(self) -> int:
        """Ascends with what is asked of the server: requests in flight, or those of a million seconds."""
        return max(1, self.concurrency if self.rate is None else round(self.rate * 1e6))

    @property
    def point_id(self) -> str:
        """Ten hexadecimal digits that the repeats of a point share."""
        return digest(self.conditions, 10)

    @property
    def once(self) -> Point:
        """The first of its repeats."""
        return replace(self, repeat=1)

    def __str__(self) -> str:
        variant = "" if self.variant == DEFAULT else f"{self.variant}: "
        lengths = f"ISL {self.isl}, OSL {self.osl}" if self.isl else "trace"
        load = f"concurrency {self.concurrency}" if self.concurrency else "replay"
        load = load if self.rate is None else f"{self.rate:g} requests/s"
        return f"{variant}{lengths}, {load}, repeat {self.repeat}"


def plan_points(bench: BenchSection, variants: Sequence[str] = (DEFAULT,)) -> tuple[Point, ...]:
    """Every variant × ISL × OSL × concurrency or rate, each once, in the order of the recipe.

    Each point measures at least as many requests as are in flight. An open loop is warmed up as the highest concurrency
    would be; a trace has lengths, a replay times of its own, so these axes have one step. Raises ``RecipeError`` for a
    length or concurrency that is listed twice.
    """
    for name, values in (("isl", bench.isl), ("osl", bench.osl), ("concurrency", bench.concurrency)):
        _check_axis(f"bench.{name}", values)
    lengths = [(0, 0)] if bench.workload.kind == "trace" else list(itertools.product(bench.isl, bench.osl))
    most = max(bench.concurrency)
    loads: list[tuple[int, float | None]] = [(users, None) for users in bench.concurrency]
    if bench.arrival.kind != "closed":
        loads = [(0, rate) for rate in bench.arrival.rate or (None,)]
    return tuple(
        Point(isl, osl, users, max(bench.requests, users), bench.warmup * (users or most), 1, variant, rate)
        for variant, (isl, osl), (users, rate) in itertools.product(variants, lengths, loads)
    )


def shuffled(points: Sequence[Point], seed: int, *, rounds: bool = False) -> tuple[Point, ...]:
    """The variants one after the other, each as a block, in an order drawn by ``seed``; so are the points of each.

    A random order keeps a drift of the machine from looking like an effect of one axis. A variant is one block because
    its bundle is loaded once; with ``rounds`` there is a block of each for every repeat, so that a drift meets all
    variants alike.
    """
    rng = random.Random(seed)
    blocks: dict[int, dict[str, list[Point]]] = {}
    for point in points:
        blocks.setdefault(point.repeat if rounds else 1, {}).setdefault(point.variant, []).append(point)
    ordered: list[Point] = []
    for number in sorted(blocks):
        names = list(blocks[number])
        rng.shuffle(names)
        for name in names:
            rng.shuffle(blocks[number][name])
            ordered += blocks[number][name]
    return tuple(ordered)


def plan_recipe(recipe: Recipe) -> tuple[Mapping[str, Recipe], tuple[Point, ...]]:
    """The variants' recipes by name, and the points; ``RecipeError`` for a point that a variant cannot hold."""
    variants = variants_of(recipe)
    points = plan_points(recipe.bench, tuple(variants))
    # the requests of a trace are measured when it is read
    longest = max(longest_of(recipe.bench.workload, point.isl, point.osl) if point.isl else 0 for point in points)
    for name, variant in variants.items():
        if longest > variant.engine.max_seq_len:
            raise RecipeError(
                f"a point needs {longest} tokens (ISL + OSL), engine.max_seq_len is {variant.engine.max_seq_len}",
                where="bench" if name == DEFAULT else f"bench.variants, {name}",
                hint=f"Shorten bench.isl or bench.osl, or type: --set engine.max_seq_len={longest}",
            )
    return variants, points


def _check_axis(name: str, values: Sequence[int]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise RecipeError(f"{value} stands twice", where=name, hint="Ask for more trials with bench.repeats")
