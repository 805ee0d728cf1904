from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats.mstats import winsorize

from toolkit.bench.stats.arms import FAR, OWN_SHARE, TO_SIGMA, Arm, clip, logarithms, plain, usable


def test_a_far_repeat_is_pulled_to_the_bound_and_not_counted() -> None:
    quiet = (0.0, 0.01, -0.01)
    ((left, right),) = clip([[quiet, (0.0, 0.01, -0.5)]])
    scale = 0.01 / TO_SIGMA  # distances 0.01 three times and 0.5: the lower median
    assert left == Arm(quiet, 3)
    assert right.values == pytest.approx((0.0, 0.01, -FAR * scale))
    assert (right.counted, right.clipped) == (2, 1)


def test_the_bound_is_shared_with_the_median_cell() -> None:
    narrow, usual, wide = ((0.0, d, -0.3) for d in (0.001, 0.02, 0.05))
    cells = [[narrow, narrow], [usual, usual], [wide, wide]]
    scales = [d / TO_SIGMA for d in (0.001, 0.02, 0.05)]
    bounds = [FAR * math.sqrt(OWN_SHARE * scale**2 + (1 - OWN_SHARE) * scales[1] ** 2) for scale in scales]
    assert [arms[0].values[2] for arms in clip(cells)] == pytest.approx([max(-0.3, -bound) for bound in bounds])
    assert [arms[0].clipped for arms in clip(cells)] == [1, 1, 1]


def test_yuens_variance_of_a_clipped_arm() -> None:
    """With one value pulled in to its neighbour's distance it is scipy's winsorised sum of squares."""
    arm = Arm(tuple(winsorize(np.array([1.0, 2.0, 3.0, 9.0]), (0, 0.25))), 3)
    assert arm.squares == pytest.approx(np.var([1, 2, 3, 3]) * 4)
    assert arm.mean == pytest.approx(2.25)


def test_two_repeats_and_equal_ones_stay() -> None:
    for values in [(0.0, 5.0), (1.0,), (), (2.0, 2.0, 2.0)]:
        assert clip([[values, values]]) == ((plain(values), plain(values)),)
    assert clip([]) == ()


def test_fewer_than_half_are_pulled_in() -> None:
    tight = tuple(0.001 * i for i in range(9))
    ((_, far),) = clip([[tight, (0.0, 50.0, -60.0, 70.0, 0.001)]])
    assert far.clipped == 2


def test_what_has_no_logarithm_is_left_out() -> None:
    assert usable((1.0, 0.0, -2.0, math.nan, math.inf, math.e)) == (1.0, math.e)
    assert logarithms((math.e, math.nan)) == (1.0,)
