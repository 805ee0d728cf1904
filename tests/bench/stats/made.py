"""Samples for tests: made-up repeats of one throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.bench.stats.compare import DEFAULT, compare
from toolkit.bench.stats.comparison import CellResult
from toolkit.bench.stats.options import THROUGHPUT, Options
from toolkit.bench.stats.samples import Samples, cell_of

PLAIN = Options(clip=False)


def sweep(
    name: str,
    rows: Sequence[Sequence[float]],
    metric: str = THROUGHPUT.name,
    identity: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Samples:
    """Row i is the cell of concurrency i + 1."""
    cells = {cell_of({"isl": 8, "concurrency": index}): {metric: tuple(row)} for index, row in enumerate(rows, 1)}
    return Samples(name, cells, identity or {}, context or {})


def rows(seed: int, sigmas: list[float], repeats: int = 3, factor: float = 1.0) -> list[list[float]]:
    generator = np.random.default_rng(seed)
    return [list(100 * factor * np.exp(generator.normal(0, sigma, repeats))) for sigma in sigmas]


def cells(a: Samples, b: Samples, options: Options = DEFAULT) -> tuple[CellResult, ...]:
    (result,) = compare(a, b, options).metrics
    return result.cells
