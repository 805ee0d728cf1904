from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special

from toolkit.bench.stats.arms import plain
from toolkit.bench.stats.variance import NOTHING_KNOWN, Prior, Spread, fit_prior, moderate, spread


def drawn(d0: float, s0: float, df: int, cells: int, seed: int) -> list[Spread]:
    generator = np.random.default_rng(seed)
    sigma2 = d0 * s0**2 / generator.chisquare(d0, cells)
    return [Spread(float(v), df) for v in sigma2 * generator.chisquare(df, cells) / df]


def test_the_prior_of_a_known_distribution_is_found() -> None:
    prior = fit_prior(drawn(6.0, 0.01, 4, 20_000, seed=1))
    assert prior.df == pytest.approx(6.0, rel=0.05)
    assert math.sqrt(prior.variance) == pytest.approx(0.01, rel=0.02)
    assert prior.pooled_df == 80_000


def test_moments_match_as_in_smyths_paper() -> None:
    """Mean and variance of log s², solved with scipy's polygamma and a root finder."""
    spreads = [*drawn(3.0, 0.02, 4, 25, seed=2), *drawn(3.0, 0.02, 2, 5, seed=3)]
    df = np.array([one.df for one in spreads])
    e = np.log([one.variance for one in spreads]) - special.digamma(df / 2) + np.log(df / 2)
    target = e.var(ddof=1) - special.polygamma(1, df / 2).mean()
    d0 = optimize.brentq(lambda d: special.polygamma(1, d / 2) - target, 0.01, 1e4)
    s02 = math.exp(e.mean() + special.digamma(d0 / 2) - math.log(d0 / 2))
    prior = fit_prior(spreads)
    assert (prior.df, prior.variance) == pytest.approx((d0, s02), rel=1e-6)
    posterior = moderate(spreads[0], prior)
    assert posterior.variance == pytest.approx((d0 * s02 + 4 * spreads[0].variance) / (d0 + 4), rel=1e-6)
    assert posterior.df == pytest.approx(d0 + 4, rel=1e-6)


def test_cells_that_differ_by_chance_alone_are_pooled() -> None:
    spreads = [Spread(1.0, 4), Spread(1.1, 4), Spread(0.9, 2)]
    prior = fit_prior(spreads)
    assert prior == Prior(pytest.approx(9.8 / 10 + 0.4 / 10, rel=1e-12), math.inf, 10)
    assert moderate(spreads[0], prior) == Spread(prior.variance, 10)


def test_degrees_of_freedom_end_at_those_of_all_cells() -> None:
    assert moderate(Spread(1.0, 4), Prior(2.0, 100.0, 12)).df == 12


def test_one_variance_is_no_distribution() -> None:
    own = Spread(0.3, 4)
    assert moderate(own, fit_prior([own, Spread(math.nan, 0)])) == own


def test_nothing_known() -> None:
    assert fit_prior([]) is NOTHING_KNOWN
    assert moderate(Spread(math.nan, 0), NOTHING_KNOWN).df == 0


def test_a_cell_without_noise_of_its_own_takes_the_prior() -> None:
    assert moderate(Spread(math.nan, 0), Prior(2.0, 3.0, 12)) == Spread(2.0, 3.0)


def test_spread_is_the_pooled_variance() -> None:
    a, b = (1.0, 2.0, 4.0), (7.0, 8.0)
    expected = (2 * np.var(a, ddof=1) + np.var(b, ddof=1)) / 3
    assert spread(plain(a), plain(b)) == Spread(pytest.approx(expected), 3)
    assert spread(plain(a), plain(())).df == 2


@pytest.mark.parametrize("arms", [[(0.1,), (0.2,)], [()], [(0.1, 0.1, 0.1), (0.3, 0.3)]])
def test_single_and_equal_repeats_say_nothing_about_noise(arms: list[tuple[float, ...]]) -> None:
    assert spread(*map(plain, arms)).df == 0
