"""From a test to a verdict. A cell is

- *regressed* or *improved* when its change exceeds the threshold, its interval at 1 − alpha excludes 0, and q ≤ fdr
  (Benjamini–Hochberg over the cells);
- *within noise* when a change as large as the threshold is excluded: both one-sided t tests against it pass at alpha;
- *inconclusive* otherwise, with the repeats that would be enough;
- *not comparable* when there is nothing to test with, or something else than declared differs, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from toolkit.bench.stats.comparison import CellResult, Verdict
from toolkit.bench.stats.multiple import benjamini_hochberg
from toolkit.bench.stats.options import Metric, Options
from toolkit.bench.stats.repeats import MOST_NEEDED, repeats_needed
from toolkit.bench.stats.special import t_quantile
from toolkit.bench.stats.variance import Prior, Spread

NEAR = "its change is close to the threshold: more repeats will hardly tell"


def judge(results: Sequence[CellResult], metric: Metric, prior: Prior, options: Options) -> list[CellResult]:
    """``results`` with q and verdict; those without p stay as they are."""
    tested = [result.p for result in results if result.p is not None]
    adjusted = iter(benjamini_hochberg(tested))
    judged = [result if result.p is None else replace(result, q=next(adjusted)) for result in results]
    return [result if result.q is None else _verdict(result, metric, prior, options) for result in judged]


def _verdict(result: CellResult, metric: Metric, prior: Prior, options: Options) -> CellResult:
    assert result.ratio is not None
    assert result.p is not None
    assert result.q is not None
    effect, limit = math.log(result.ratio), metric.log_threshold
    if result.q <= options.fdr and result.p <= options.alpha and abs(effect) > limit:
        better = (effect > 0) == (metric.better == "higher")
        verdict: Verdict = "improved" if better else "regressed"
        return replace(result, verdict=verdict)
    if _excludes(result, effect, limit, options.alpha):
        return replace(result, verdict="within noise")
    assert result.noise is not None
    noise = Spread(result.noise**2, result.df or 0.0)
    needed = repeats_needed(noise, prior.df, limit, options.alpha, options.power)
    if needed is None:
        return replace(result, verdict="inconclusive", reason=f"it needs more than {MOST_NEEDED} repeats a side")
    if needed <= min(result.baseline.repeats, result.candidate.repeats):
        return replace(result, verdict="inconclusive", reason=NEAR)
    reason = f"it needs {needed} repeats a side"
    return replace(result, verdict="inconclusive", reason=reason, repeats_needed=needed)


def _excludes(result: CellResult, effect: float, limit: float, alpha: float) -> bool:
    """Whether the interval at 1 − 2 alpha lies within the threshold: two one-sided tests (Schuirmann 1987)."""
    assert result.interval is not None
    assert result.df is not None
    reach = (math.log(result.interval.high) - effect) / t_quantile(1 - alpha / 2, result.df)
    return abs(effect) + t_quantile(1 - alpha, result.df) * reach < limit
