"""Two sweeps, cell by cell: which differ by more than their noise, and by enough to matter.

For each metric: logarithms; far repeats pulled in (``arms``); the difference of means in each cell; a variance that
is moderated over the cells (``variance``); Student's t; the verdicts (``judge``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from toolkit.bench.stats.arms import Arm, clip, logarithms, plain, usable
from toolkit.bench.stats.comparison import CellResult, Comparison, Interval, MetricResult, Side
from toolkit.bench.stats.headline import headline
from toolkit.bench.stats.history import past_spreads
from toolkit.bench.stats.identity import Difference, differences
from toolkit.bench.stats.judge import judge
from toolkit.bench.stats.options import Metric, Options
from toolkit.bench.stats.samples import Cell, Repeats, Samples, label, sort_key
from toolkit.bench.stats.special import t_quantile, t_two_sided
from toolkit.bench.stats.variance import LARGEST_LOG, LEAST_DF, Prior, Spread, fit_prior, moderate, spread
from toolkit.errors import RecordError

DEFAULT = Options()
NO_NOISE = "there is no noise to test against: all repeats are equal"
NO_HISTORY = "it has one repeat, and the history does not tell its noise"


def compare(baseline: Samples, candidate: Samples, options: Options = DEFAULT) -> Comparison:
    """What changed from ``baseline`` to ``candidate``, for the metrics of ``options`` that either side has.

    Raises ``RecordError`` when no cell or no metric can be looked at at all; everything else is said in the result.
    """
    shared = sorted(baseline.cells.keys() & candidate.cells.keys(), key=sort_key)
    if not shared:
        raise RecordError("no cell was measured on both sides", where=f"{baseline.name} and {candidate.name}")
    present = {name for samples in (baseline, candidate) for cell in shared for name in samples.cells[cell]}
    metrics = [metric for metric in options.metrics if metric.name in present]
    if not metrics:
        asked = ", ".join(metric.name for metric in options.metrics)
        raise RecordError(f"neither side has one of {asked}", where=f"{baseline.name} and {candidate.name}")
    found = differences(baseline.identity, candidate.identity, "identity", options.declared)
    return Comparison(
        baseline=baseline.name,
        candidate=candidate.name,
        alpha=options.alpha,
        metrics=tuple(_compare_metric(metric, shared, baseline, candidate, options, found) for metric in metrics),
        differences=(*found, *differences(baseline.context, candidate.context, "context")),
        only_baseline=tuple(sorted(baseline.cells.keys() - candidate.cells.keys(), key=sort_key)),
        only_candidate=tuple(sorted(candidate.cells.keys() - baseline.cells.keys(), key=sort_key)),
        notes=tuple(note for metric in metrics for note in _left_out(metric, shared, baseline, candidate)),
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """One metric of one cell, before the other cells are known."""

    cell: Cell
    sides: tuple[Side, Side]
    arms: tuple[Arm, ...]
    own: Spread

    @property
    def effect(self) -> float:
        return max(-LARGEST_LOG, min(LARGEST_LOG, self.arms[1].mean - self.arms[0].mean))

    @property
    def leverage(self) -> float:
        """Var(effect) / σ²."""
        return sum(1 / arm.counted for arm in self.arms)

    @property
    def fewest(self) -> int:
        return min(side.repeats for side in self.sides)


def _compare_metric(
    metric: Metric,
    cells: Sequence[Cell],
    baseline: Samples,
    candidate: Samples,
    options: Options,
    found: Sequence[Difference],
) -> MetricResult:
    pairs = _pairs([(cell, *_repeats(cell, metric, baseline, candidate)) for cell in cells], options.clip)
    prior = fit_prior([*(pair.own for pair in pairs), *past_spreads(options.history, metric.name)])
    forbidding = [difference.key for difference in found if difference.forbids]
    results = [_test(pair, prior, bool(options.history), options.alpha) for pair in pairs]
    if forbidding:
        reason = f"not the same {', '.join(forbidding)}"
        results = [replace(result, verdict="not comparable", reason=reason) for result in results]
    else:
        results = judge(results, metric, prior, options)
    log_ratios = [math.log(result.ratio) for result in results if result.ratio is not None]
    return MetricResult(
        metric,
        tuple(results),
        headline(log_ratios, options.alpha, options.seed, options.resamples),
        math.sqrt(prior.variance) if prior.pooled_df else None,
        prior.df if prior.pooled_df else None,
    )


def _pairs(cells: Sequence[tuple[Cell, Repeats, Repeats]], clipped: bool) -> list[_Pair]:
    logs = [[logarithms(values) for values in sides] for _, *sides in cells]
    arms = clip(logs) if clipped else tuple(tuple(plain(values) for values in sides) for sides in logs)
    return [
        _Pair(cell, (_side(left), _side(right)), pair, spread(*pair))
        for (cell, left, right), pair in zip(cells, arms, strict=True)
    ]


def _side(values: Repeats) -> Side:
    used = usable(values)
    return Side(len(used), median(used) if used else None)


def _test(pair: _Pair, prior: Prior, history: bool, alpha: float) -> CellResult:
    """Ratio, interval and p where the data have them; the verdict is not the final one."""
    result = CellResult(pair.cell, *pair.sides, verdict="not comparable", reason="")
    if pair.fewest == 0:
        side = "baseline" if pair.sides[0].repeats == 0 else "candidate"
        return replace(result, reason=f"the {side} has no value")
    result = replace(result, ratio=math.exp(pair.effect), clipped=sum(arm.clipped for arm in pair.arms))
    if pair.fewest == 1 and not history:
        side = "baseline" if pair.sides[0].repeats == 1 else "candidate"
        return replace(result, reason=f"the {side} has one repeat: measure it again, or give a history")
    noise = moderate(pair.own, prior)
    if noise.df < LEAST_DF:
        return replace(result, reason=NO_NOISE if pair.fewest > 1 else NO_HISTORY)
    error = math.sqrt(noise.variance * pair.leverage)
    reach = min(t_quantile(1 - alpha / 2, noise.df) * error, LARGEST_LOG - abs(pair.effect))
    return replace(
        result,
        interval=Interval(math.exp(pair.effect - reach), math.exp(pair.effect + reach)),
        p=t_two_sided(pair.effect / error, noise.df),
        noise=math.sqrt(noise.variance),
        df=noise.df,
    )


def _repeats(cell: Cell, metric: Metric, *sides: Samples) -> tuple[Repeats, Repeats]:
    left, right = (side.cells[cell].get(metric.name, ()) for side in sides)
    return left, right


def _left_out(metric: Metric, cells: Sequence[Cell], *sides: Samples) -> list[str]:
    """A line for each repeat that is not a positive number."""
    lines = []
    for side in sides:
        for cell in cells:
            values = side.cells[cell].get(metric.name, ())
            lost = len(values) - len(usable(values))
            if lost:
                lines.append(
                    f"{side.name}, {label(cell)}: {lost} of {len(values)} values of {metric.name} left out, "
                    "not a positive number"
                )
    return lines
