"""How many more repeats a question needs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from toolkit.bench.stats.arms import logarithms, plain
from toolkit.bench.stats.history import past_spreads
from toolkit.bench.stats.options import THROUGHPUT
from toolkit.bench.stats.samples import Cell, Samples
from toolkit.bench.stats.special import t_quantile
from toolkit.bench.stats.variance import LARGEST_LOG, LEAST_DF, Spread, fit_prior, moderate, spread

MOST_NEEDED = 1000


def repeats_needed(noise: Spread, prior_df: float, log_threshold: float, alpha: float, power: float) -> int | None:
    """The least repeats a side so that an unchanged cell is called "within noise" with probability ``power``.

    ``noise`` is a cell's moderated variance. The call asks that both one-sided tests against the threshold pass, so
    with n repeats a side s·√(2/n)·(t(1 − α) + t((1 + power)/2)) must fit into it, with d₀ + 2n − 2 degrees of freedom.
    A change of 1.5 thresholds is then found with more than ``power``, too. None for more than ``MOST_NEEDED``.
    """

    def fits(n: int) -> bool:
        df = min(prior_df + 2 * n - 2, 1e6)
        quantiles = t_quantile(1 - alpha, df) + t_quantile((1 + power) / 2, df)
        return math.sqrt(2 * noise.variance / n) * quantiles <= log_threshold

    if not fits(MOST_NEEDED):
        return None
    low, high = 1, MOST_NEEDED  # fits(high), not fits(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Wanted:
    """``half_width`` is that of the cell's mean now, as a share; None while its noise is not known."""

    cell: Cell
    repeats: int
    half_width: float | None


def more_repeats(
    samples: Samples,
    *,
    half_width: float = 0.01,
    budget: int,
    most: int = 5,
    metric: str = THROUGHPUT.name,
    alpha: float = 0.05,
    history: Iterable[Samples] = (),
) -> tuple[Wanted, ...]:
    """Which cells to repeat, and how often, until the mean of ``metric`` is known to ± ``half_width``.

    Each cell gets at least two repeats and at most ``most`` in all; ``budget`` is how many trials are left. They are
    given one by one to the cell whose interval is widest, those of unknown noise first. Empty when all is known or the
    budget is spent: call it again after measuring. A far repeat is not pulled in here: it is a reason for another one.
    """
    names = list(samples.cells)
    arms = [plain(logarithms(samples.cells[name].get(metric, ()))) for name in names]
    own = [spread(arm) for arm in arms]
    prior = fit_prior([*own, *past_spreads(history, metric)])
    moderated = [moderate(one, prior) for one in own]
    counts = [len(arm.values) for arm in arms]
    now = [_half_width(noise, n, 0, alpha) for noise, n in zip(moderated, counts, strict=True)]
    extra = [0] * len(names)
    for _ in range(budget):
        widths = [
            0.0 if n + more >= most else _hoped(noise, n, more, alpha)
            for noise, n, more in zip(moderated, counts, extra, strict=True)
        ]
        widest = max(range(len(names)), key=lambda i: (widths[i], -counts[i] - extra[i]), default=None)
        if widest is None or widths[widest] <= half_width:
            break
        extra[widest] += 1
    return tuple(
        Wanted(name, more, None if math.isinf(width) else width)
        for name, more, width in zip(names, extra, now, strict=True)
        if more
    )


def _hoped(noise: Spread, n: int, more: int, alpha: float) -> float:
    """The half width after ``more`` repeats, if the noise stays what it seems."""
    if n + more < 2:
        return math.inf
    if noise.df < LEAST_DF:
        return math.inf if more == 0 else 0.0  # look at one more first
    return _half_width(noise, n, more, alpha)


def _half_width(noise: Spread, n: int, more: int, alpha: float) -> float:
    if noise.df < LEAST_DF or n == 0:
        return math.inf
    df = noise.df + more
    return math.expm1(min(t_quantile(1 - alpha / 2, df) * math.sqrt(noise.variance / (n + more)), LARGEST_LOG))
