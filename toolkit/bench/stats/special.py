"""Student's t and the polygamma functions that an empirical-Bayes variance needs.

Scalars in double precision. Formulas: NIST Digital Library of Mathematical Functions, the section behind each name.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

TINY = 1e-300
ASYMPTOTIC = 15.0  # from here the series below are exact to a double
DIGAMMA = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760)
TRIGAMMA = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730)


def digamma(x: float) -> float:
    """ψ(x) for x > 0: recurrence (5.5.2), then the asymptotic series (5.11.2)."""
    shift = 0.0
    while x < ASYMPTOTIC:
        shift -= 1 / x
        x += 1
    return shift + math.log(x) - 0.5 / x + sum(c * x ** (-2 * k) for k, c in enumerate(DIGAMMA, 1))


def trigamma(x: float) -> float:
    """ψ′(x) for x > 0: recurrence (5.15.5), then the asymptotic series (5.15.8)."""
    shift = 0.0
    while x < ASYMPTOTIC:
        shift += x**-2
        x += 1
    return shift + 1 / x + 0.5 / x**2 + sum(c * x ** (-2 * k - 1) for k, c in enumerate(TRIGAMMA, 1))


def trigamma_inverse(y: float) -> float:
    """x > 0 with ψ′(x) = y, for y > 0.

    Newton on 1 / ψ′, which is convex and nearly linear, from a start below the root (Smyth 2004, appendix).
    """
    if y > 1e7:
        return 1 / math.sqrt(y)
    if y < 1e-6:
        return 1 / y
    x = 0.5 + 1 / y
    for _ in range(50):
        value = trigamma(x)
        step = value * (1 - value / y) / _tetragamma(x)
        x += step
        if abs(step) < 1e-12 * x:
            break
    return x


def _tetragamma(x: float) -> float:
    shift = 0.0
    while x < ASYMPTOTIC:
        shift -= 2 * x**-3
        x += 1
    series = sum(-(2 * k + 1) * c * x ** (-2 * k - 2) for k, c in enumerate(TRIGAMMA, 1))
    return shift - x**-2 - x**-3 + series


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised Iₓ(a, b) for a, b > 0 and 0 ≤ x ≤ 1, by its continued fraction (8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d₁/(1 + d₂/(1 + …)) of 8.17.22, by Lentz's method as modified by Thompson and Barnett."""
    value, c, d = 1.0, 1.0, 0.0
    for j in range(1, 100_000):
        m = j // 2
        if j % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or TINY)
        c = 1 + term / c or TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def t_two_sided(t: float, df: float) -> float:
    """P(|T| ≥ |t|) for ``df`` > 0 degrees of freedom, which may be infinite."""
    if math.isinf(df):
        return math.erfc(abs(t) / math.sqrt(2))
    return incomplete_beta(df / 2, 0.5, df / (df + t * t))


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The t with P(T ≤ t) = ``p``, 0 < p < 1.

    Newton on log P against log t, where the tail is concave and nearly straight, from the normal quantile.
    """
    if p < 0.5:
        return -t_quantile(1 - p, df)
    if p == 0.5:
        return 0.0
    t, tail = NormalDist().inv_cdf(p), 2 * (1 - p)
    if math.isinf(df):
        return t
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    for _ in range(60):
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        now = t_two_sided(t, df)
        step = math.log(now / tail) * now / (2 * density * t)
        t *= math.exp(step)
        if abs(step) < 1e-13:
            break
    return t
