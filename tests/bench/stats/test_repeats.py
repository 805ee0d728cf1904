from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_ind

from tests.bench.stats.made import sweep
from toolkit.bench.stats.repeats import Wanted, more_repeats, repeats_needed
from toolkit.bench.stats.samples import Samples, cell_of
from toolkit.bench.stats.special import t_quantile
from toolkit.bench.stats.variance import Spread

LIMIT = math.log1p(0.02)


def test_the_repeats_needed_have_the_power_that_was_asked_for() -> None:
    """Against statsmodels' two one-sided tests on simulated unchanged cells, without a prior."""
    sigma, generator = 0.02, np.random.default_rng(0)
    n = repeats_needed(Spread(sigma**2, 4), 0.0, LIMIT, 0.05, 0.8)
    assert n is not None

    def power(repeats: int) -> float:
        draws = generator.normal(0, sigma, (1000, 2, repeats))
        return float(np.mean([ttost_ind(a, b, -LIMIT, LIMIT)[0] < 0.05 for a, b in draws]))

    assert power(n) == pytest.approx(0.82, abs=0.04)
    assert power(n - 4) < 0.78


def test_a_prior_saves_repeats_and_too_much_noise_has_no_number() -> None:
    noise = Spread(0.01**2, 10)
    assert repeats_needed(noise, math.inf, LIMIT, 0.05, 0.8) == math.ceil(2 * (0.01 * 2.926 / LIMIT) ** 2) == 5
    assert repeats_needed(noise, 0.0, LIMIT, 0.05, 0.8) == 6
    assert repeats_needed(Spread(1.0, 10), math.inf, LIMIT, 0.05, 0.8) is None
    assert repeats_needed(Spread(1e-10, 10), math.inf, LIMIT, 0.05, 0.8) == 2


def cell(concurrency: int) -> tuple[tuple[str, str | int | float | bool | None], ...]:
    return cell_of({"isl": 8, "concurrency": concurrency})


def test_the_widest_cells_get_the_budget() -> None:
    rows = [
        [100.0, 100.1, 99.9],
        [100.0, 104.0, 95.0],
        [100.0, 100.2, 99.8],
        [100.0, 108.0, 93.0],
        [100.0, 99.8, 100.2],
    ]
    samples = sweep("a", rows)
    wanted = more_repeats(samples, budget=3)
    assert [(one.cell, one.repeats) for one in wanted] == [(cell(2), 1), (cell(4), 2)]
    assert [(one.cell, one.repeats) for one in more_repeats(samples, budget=99)] == [(cell(2), 2), (cell(4), 2)]
    assert more_repeats(samples, budget=0) == ()
    assert more_repeats(samples, budget=99, half_width=1.0) == ()


def test_the_half_width_is_that_of_one_mean() -> None:
    values = (100.0, 104.0, 95.0)
    (wanted,) = more_repeats(sweep("a", [values]), budget=1)
    error = np.std(np.log(values), ddof=1) / math.sqrt(3)
    assert wanted == Wanted(cell(1), 1, pytest.approx(math.expm1(t_quantile(0.975, 2) * error)))


def test_unknown_noise_is_looked_at_first_and_no_further() -> None:
    samples = sweep("a", [[100.0], [], [100.0, 100.0, 100.0]])
    assert more_repeats(samples, budget=99) == (
        Wanted(cell(1), 1, None),
        Wanted(cell(2), 2, None),
        Wanted(cell(3), 1, None),
    )
    assert [one.cell for one in more_repeats(samples, budget=1)] == [cell(2)]


def test_a_cell_never_exceeds_its_most() -> None:
    assert more_repeats(sweep("a", [[90.0, 100.0, 110.0, 95.0, 105.0]]), budget=9) == ()
    assert more_repeats(Samples("none", {}), budget=9) == ()


def test_history_tells_the_noise_of_a_single_repeat() -> None:
    past = sweep("past", [[100.0, 100.1, 99.9], [100.0, 100.2, 99.9]])
    (wanted,) = more_repeats(sweep("a", [[100.0]]), budget=9, history=[past])
    assert wanted.repeats == 1
    assert wanted.half_width == pytest.approx(0.0039, abs=0.0015)
