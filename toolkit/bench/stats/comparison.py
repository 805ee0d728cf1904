"""What a comparison found: plain data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from toolkit.bench.stats.identity import Difference
from toolkit.bench.stats.options import Metric
from toolkit.bench.stats.samples import Cell

Verdict = Literal["regressed", "improved", "within noise", "inconclusive", "not comparable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Side:
    """``repeats`` are those that can be used; ``median`` is of them, in the metric's unit, None without any."""

    repeats: int
    median: float | None


@dataclass(frozen=True, slots=True)
class CellResult:
    """One metric in one cell.

    ``ratio`` is candidate / baseline of the geometric means, far repeats pulled in (``clipped`` of them); ``interval``
    its interval at 1 − alpha, of this cell alone. ``p`` is of "no change at all", ``q`` the same adjusted for all cells
    of the metric. ``noise`` is the relative standard deviation of a repeat and ``df`` its degrees of freedom.
    ``repeats_needed``, a side, only if ``inconclusive``; None there says that more repeats would not help.
    """

    cell: Cell
    baseline: Side
    candidate: Side
    verdict: Verdict
    reason: str
    ratio: float | None = None
    interval: Interval | None = None
    p: float | None = None
    q: float | None = None
    noise: float | None = None
    df: float | None = None
    clipped: int = 0
    repeats_needed: int | None = None


@dataclass(frozen=True, slots=True)
class Headline:
    """The geometric mean of the cells' ratios; its interval is a bootstrap over cells, None for fewer than five."""

    ratio: float
    interval: Interval | None
    cells: int


@dataclass(frozen=True, slots=True)
class MetricResult:
    """``prior_noise`` and ``prior_df``: s₀ and d₀ that the cells have in common; None where nothing is known."""

    metric: Metric
    cells: tuple[CellResult, ...]
    headline: Headline | None
    prior_noise: float | None
    prior_df: float | None

    def count(self, verdict: Verdict) -> int:
        return sum(result.verdict == verdict for result in self.cells)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``only_baseline`` and ``only_candidate`` are cells that the other side lacks."""

    baseline: str
    candidate: str
    alpha: float
    metrics: tuple[MetricResult, ...]
    differences: tuple[Difference, ...]
    only_baseline: tuple[Cell, ...]
    only_candidate: tuple[Cell, ...]
    notes: tuple[str, ...]

    def count(self, verdict: Verdict) -> int:
        """How many cells of all metrics have this verdict; a gate fails on ``count("regressed")``."""
        return sum(result.count(verdict) for result in self.metrics)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; cells are objects, infinite degrees of freedom the text "inf"."""
        data = {name: getattr(self, name) for name in ("baseline", "candidate", "alpha")}
        data |= {
            "verdicts": {verdict: self.count(verdict) for verdict in VERDICTS},
            "differences": [asdict(difference) for difference in self.differences],
            "only_baseline": [dict(cell) for cell in self.only_baseline],
            "only_candidate": [dict(cell) for cell in self.only_candidate],
            "notes": list(self.notes),
            "metrics": [_metric(result) for result in self.metrics],
        }
        return data


def _metric(result: MetricResult) -> dict[str, Any]:
    df = result.prior_df
    return {
        "metric": asdict(result.metric),
        "headline": None if result.headline is None else asdict(result.headline),
        "prior_noise": result.prior_noise,
        "prior_df": "inf" if df is not None and math.isinf(df) else df,
        "cells": [asdict(cell) | {"cell": dict(cell.cell)} for cell in result.cells],
    }
