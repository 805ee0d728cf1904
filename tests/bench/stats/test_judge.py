from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from tests.bench.stats.made import PLAIN, cells, rows, sweep
from toolkit.bench.stats.options import THROUGHPUT, Metric, Options


def test_verdicts_follow_threshold_direction_and_noise() -> None:
    sigmas = [0.002, 0.002, 0.002, 0.002, 0.06, 0.002]
    shifts = [0.95, 1.05, 1.0, 1.015, 1.0, 1.021]
    base = rows(1, sigmas)
    changed = [[value * shift for value in row] for row, shift in zip(base, shifts, strict=True)]
    found = cells(sweep("a", base), sweep("b", changed))
    assert [cell.verdict for cell in found] == [
        "regressed",
        "improved",
        "within noise",
        "within noise",
        "inconclusive",
        "improved",
    ]
    assert found[4].repeats_needed is not None
    assert found[4].reason == f"it needs {found[4].repeats_needed} repeats a side"
    lower = Options(metrics=(Metric(THROUGHPUT.name, "lower", 0.02),))
    assert [cell.verdict for cell in cells(sweep("a", base), sweep("b", changed), lower)][:2] == [
        "improved",
        "regressed",
    ]
    wide = Options(metrics=(replace(THROUGHPUT, threshold=0.1),))
    assert [cell.verdict for cell in cells(sweep("a", base), sweep("b", changed), wide)][:4] == ["within noise"] * 4


def test_within_noise_is_statsmodels_two_one_sided_tests() -> None:
    limit, seen = math.log1p(0.02), set()
    for seed in range(60):
        (a,), (b,) = rows(seed, [0.008], repeats=5), rows(1000 + seed, [0.008], repeats=5)
        (cell,) = cells(sweep("a", [a]), sweep("b", [b]), PLAIN)
        within = ttost_ind(np.log(b), np.log(a), -limit, limit)[0] < 0.05
        assert (cell.verdict == "within noise") == within
        seen.add(within)
    assert seen == {True, False}


def test_a_change_at_the_threshold_is_not_settled_by_repeats() -> None:
    base = rows(2, [0.003] * 5, repeats=4)
    changed = [[value * 0.981 for value in row] for row in base]
    found = cells(sweep("a", base), sweep("b", changed))
    assert {cell.verdict for cell in found} == {"inconclusive"}
    assert {cell.reason for cell in found} == {"its change is close to the threshold: more repeats will hardly tell"}


def test_hopeless_noise() -> None:
    found = cells(sweep("a", rows(3, [0.9] * 3)), sweep("b", rows(4, [0.9] * 3)))
    assert {cell.reason for cell in found if cell.verdict == "inconclusive"} == {
        "it needs more than 1000 repeats a side"
    }


def test_many_cells_are_adjusted_together() -> None:
    base, other = rows(5, [0.01] * 8), rows(6, [0.01] * 8)
    found = cells(sweep("a", base), sweep("b", other))
    adjusted = stats.false_discovery_control([cell.p for cell in found])
    assert [cell.q for cell in found] == pytest.approx(list(adjusted))


def test_a_call_needs_its_own_interval_and_the_rate_of_false_calls() -> None:
    base, other = rows(18, [0.02] * 6), rows(19, [0.02] * 6, factor=0.97)
    for options in (PLAIN, Options(clip=False, fdr=0.5), Options(clip=False, fdr=0.01), Options(clip=False, alpha=0.3)):
        found = cells(sweep("a", base), sweep("b", other), options)
        called = [cell.verdict in ("regressed", "improved") for cell in found]
        assert called == [
            (cell.q or 0) <= options.fdr
            and (cell.p or 0) <= options.alpha
            and abs(math.log(cell.ratio or 1)) > math.log(1.02)
            for cell in found
        ]
    p = [cell.p or 0 for cell in cells(sweep("a", base), sweep("b", other), PLAIN)]
    assert min(p) < 0.05 < max(p)


def test_false_alarms_and_power_of_a_small_simulation() -> None:
    """The benchmark's claim with few sweeps: benchmarks/compare_power.py has the real ones."""
    generator = np.random.default_rng(0)
    options = Options(metrics=(THROUGHPUT,), resamples=1)
    alarms, hits = [], []
    for _ in range(12):
        sigmas = generator.choice([0.002, 0.004, 0.007, 0.03], 20)
        a, b = (100 * np.exp(sigmas[:, None] * generator.standard_normal((20, 3))) for _ in range(2))
        b[:10] *= 0.97
        verdicts = [cell.verdict for cell in cells(sweep("a", a.tolist()), sweep("b", b.tolist()), options)]
        hits += [verdict == "regressed" for verdict, s in zip(verdicts[:10], sigmas[:10], strict=True) if s < 0.01]
        alarms += [verdict in ("regressed", "improved") for verdict in verdicts[10:]]
    assert np.mean(alarms) <= 0.06
    assert np.mean(hits) >= 0.85
