"""Noise that was seen before."""

from __future__ import annotations

from collections.abc import Iterable

from toolkit.bench.stats.arms import logarithms, plain
from toolkit.bench.stats.samples import Samples
from toolkit.bench.stats.variance import Spread, spread


def past_spreads(history: Iterable[Samples], metric: str) -> list[Spread]:
    """The variance of each cell of each earlier sweep."""
    return [spread(plain(logarithms(cell.get(metric, ())))) for samples in history for cell in samples.cells.values()]
