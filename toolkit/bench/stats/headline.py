"""One figure for a whole sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.bench.stats.comparison import Headline, Interval

FEWEST = 5  # resampling fewer cells gives intervals that are too short


def headline(log_ratios: Sequence[float], alpha: float, seed: int, resamples: int) -> Headline | None:
    """The geometric mean of paired cells' ratios; cells are drawn again with replacement for the interval at 1 − alpha.

    It speaks of cells like these, not of the repeats in them. None for no cells.
    """
    if not log_ratios:
        return None
    values = np.asarray(log_ratios, dtype=np.float64)
    interval = None
    if len(values) >= FEWEST:
        drawn = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
        low, high = np.quantile(values[drawn].mean(axis=1), [alpha / 2, 1 - alpha / 2])
        interval = Interval(float(np.exp(low)), float(np.exp(high)))
    return Headline(float(np.exp(values.mean())), interval, len(values))
