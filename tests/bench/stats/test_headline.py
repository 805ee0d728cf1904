from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from toolkit.bench.stats.comparison import Headline
from toolkit.bench.stats.headline import headline

LOGS = [0.0113, -0.0317, 0.0231, -0.0529, 0.0007, -0.0203, -0.0119, -0.0441]


def test_geometric_mean_and_bootstrap_against_scipy() -> None:
    found = headline(LOGS, 0.05, seed=1, resamples=100_000)
    assert found is not None
    assert found.interval is not None
    assert (found.ratio, found.cells) == (pytest.approx(stats.gmean(np.exp(LOGS))), 8)
    oracle = stats.bootstrap(
        (np.array(LOGS),), np.mean, n_resamples=100_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.interval.low == pytest.approx(math.exp(oracle.low), abs=4e-4)
    assert found.interval.high == pytest.approx(math.exp(oracle.high), abs=4e-4)


def test_the_seed_decides() -> None:
    assert headline(LOGS, 0.05, 1, 200) == headline(LOGS, 0.05, 1, 200)
    assert headline(LOGS, 0.05, 1, 200) != headline(LOGS, 0.05, 2, 200)


def test_few_cells_have_no_interval() -> None:
    assert headline([0.5, 0.5, 0.5, 0.5], 0.05, 0, 100) == Headline(pytest.approx(math.exp(0.5)), None, 4)
    assert headline([], 0.05, 0, 100) is None
