from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from toolkit.bench.stats.special import (
    digamma,
    incomplete_beta,
    t_quantile,
    t_two_sided,
    trigamma,
    trigamma_inverse,
)

POSITIVE = st.floats(1e-3, 1e5)
DF = st.floats(0.05, 1e5)


@given(POSITIVE)
def test_polygamma_against_scipy(x: float) -> None:
    assert digamma(x) == pytest.approx(float(special.digamma(x)), rel=1e-10, abs=1e-12)
    assert trigamma(x) == pytest.approx(float(special.polygamma(1, x)), rel=1e-11)


@given(st.floats(1e-9, 1e9))
def test_trigamma_inverse_undoes_trigamma(y: float) -> None:
    assert float(special.polygamma(1, trigamma_inverse(y))) == pytest.approx(y, rel=2e-6)


@given(st.floats(0.05, 500), st.floats(0.05, 500), st.floats(0, 1))
def test_incomplete_beta_against_scipy(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-9, abs=1e-12)


@given(st.floats(-1e4, 1e4), DF)
def test_t_tail_against_scipy(t: float, df: float) -> None:
    assert t_two_sided(t, df) == pytest.approx(2 * float(stats.t.sf(abs(t), df)), rel=1e-8, abs=1e-290)


@given(st.floats(0.501, 0.9999), st.floats(0.3, 1e5))
def test_t_quantile_against_scipy(p: float, df: float) -> None:
    assert t_quantile(p, df) == pytest.approx(float(stats.t.ppf(p, df)), rel=1e-8, abs=1e-8)
    assert t_quantile(1 - p, df) == pytest.approx(-t_quantile(p, df), rel=1e-9)


def test_infinite_degrees_of_freedom_are_the_normal_distribution() -> None:
    assert t_quantile(0.975, math.inf) == pytest.approx(float(stats.norm.ppf(0.975)), rel=1e-12)
    assert t_two_sided(1.5, math.inf) == pytest.approx(2 * float(stats.norm.sf(1.5)), rel=1e-12)
    assert t_quantile(0.5, 3) == 0
    assert t_quantile(0.975, 1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-12)


def test_beta_ends() -> None:
    assert (incomplete_beta(2, 3, 0), incomplete_beta(2, 3, 1)) == (0, 1)
