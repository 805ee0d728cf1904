"""The requests of each point of a sweep, and when they are sent: the recipe's workload and arrival."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.bench.grid import Point
from toolkit.bench.workload import Arrival, Drawn, Source, arrival_of, draw, open_source
from toolkit.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Requests:
    """Of one variant, whose tokenizer makes them."""

    recipe: Recipe
    source: Source

    @classmethod
    def open(cls, recipe: Recipe, tokenizer_dir: Path) -> Requests:
        """Raises ``CheckpointError`` without a readable tokenizer and ``RecipeError`` for an unusable text or trace."""
        bench = recipe.bench
        limit = recipe.engine.max_seq_len
        return cls(recipe, open_source(bench.workload, tokenizer_dir, text=bench.prompts, max_seq_len=limit))

    def draw(self, point: Point) -> Drawn:
        """The same for the same recipe and point on every machine; ``RecipeError`` when there are not that many."""
        workload = self.source.at(point.isl, point.osl)
        return draw(workload, point.requests, point.warmup, seed=self.recipe.bench.seed, repeat=point.repeat)

    def arrival(self, point: Point) -> Arrival:
        load = point.concurrency if point.rate is None else point.rate
        return arrival_of(self.recipe.bench.arrival, load, seed=self.recipe.bench.seed, repeat=point.repeat)
