"""What the noise of a cell is, from its own few repeats and from those of all other cells.

Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray experiments"
(2004): cell variances σ² are taken as d₀·s₀² / χ²(d₀); d₀ and s₀² are matched to mean and variance of log s² over the
cells. ``docs/decisions/0009`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from toolkit.bench.stats.arms import Arm
from toolkit.bench.stats.special import digamma, trigamma, trigamma_inverse

LEAST_DF = 1.0  # below it an interval says nothing
LARGEST_LOG = 700.0  # whose exponential is still a number
CONSTANT = 1e-20  # a variance of logarithms below it is rounding: a relative deviation of 1e-10


@dataclass(frozen=True, slots=True)
class Spread:
    """A sample variance (of logarithms) and its degrees of freedom; 0 of these if it is not known."""

    variance: float
    df: float


@dataclass(frozen=True, slots=True)
class Prior:
    """What the cells have in common: s₀² as ``variance``, d₀ as ``df``, and the most degrees of freedom they can give.

    ``df`` is 0 where nothing is known, infinite where the cells do not differ by more than chance.
    """

    variance: float
    df: float
    pooled_df: float


NOTHING_KNOWN = Prior(math.nan, 0.0, 0.0)


def spread(*arms: Arm) -> Spread:
    """The variance within ``arms``, pooled; unknown if none has two values or all are equal.

    Equal repeats are one measurement read twice, or a clock too coarse. Either way they tell nothing about noise.
    """
    df = sum(arm.counted - 1 for arm in arms if arm.values)
    if df == 0:
        return Spread(math.nan, 0)
    variance = sum(arm.squares for arm in arms if arm.values) / df
    return Spread(variance, df) if variance > CONSTANT else Spread(math.nan, 0)


def fit_prior(spreads: Iterable[Spread]) -> Prior:
    """The prior of cells with these variances; those that are unknown are left out.

    One variance is not yet a distribution: ``df`` is 0 then, and a test uses the cell's own variance alone.
    """
    known = [one for one in spreads if one.df > 0]
    pooled_df = sum(one.df for one in known)
    if len(known) < 2:
        return NOTHING_KNOWN if not known else Prior(known[0].variance, 0.0, pooled_df)
    centred = [math.log(one.variance) - digamma(one.df / 2) + math.log(one.df / 2) for one in known]
    excess = float(np.var(centred, ddof=1)) - float(np.mean([trigamma(one.df / 2) for one in known]))
    if excess <= 0:
        mean = sum(one.variance * one.df for one in known) / pooled_df
        return Prior(mean, math.inf, pooled_df)
    df = 2 * trigamma_inverse(excess)
    return Prior(math.exp(float(np.mean(centred)) + digamma(df / 2) - math.log(df / 2)), df, pooled_df)


def moderate(own: Spread, prior: Prior) -> Spread:
    """(d₀·s₀² + d·s²) / (d₀ + d) with d₀ + d degrees of freedom, but not more than all cells have together."""
    df = min(prior.df + own.df, prior.pooled_df)
    if df <= 0:
        return Spread(math.nan, 0)
    if own.df == 0 or math.isinf(prior.df):
        return Spread(prior.variance, df)
    if prior.df == 0:
        return Spread(own.variance, own.df)
    return Spread((prior.df * prior.variance + own.df * own.variance) / (prior.df + own.df), df)
