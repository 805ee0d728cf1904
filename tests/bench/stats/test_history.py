from __future__ import annotations

import math

import numpy as np
import pytest

from tests.bench.stats.made import sweep
from toolkit.bench.stats.history import past_spreads
from toolkit.bench.stats.options import THROUGHPUT


def test_every_cell_of_every_sweep_has_its_variance() -> None:
    sweeps = [sweep("a", [[100.0, 110.0], [100.0]]), sweep("b", [[50.0, math.nan, 60.0]]), sweep("c", [[1.0]], "other")]
    found = past_spreads(sweeps, THROUGHPUT.name)
    assert [one.df for one in found] == [1, 0, 1, 0]
    assert found[0].variance == pytest.approx(np.var(np.log([100, 110]), ddof=1))
    assert found[2].variance == pytest.approx(np.var(np.log([50, 60]), ddof=1))
