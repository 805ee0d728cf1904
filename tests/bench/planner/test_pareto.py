from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bench.planner.pareto import front, gain, hypervolume

WHOLE = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=12)


def unit_squares(rates: list[tuple[int, int]]) -> int:
    """The area counted square by square."""
    return sum(any(x < user and y < gpu for user, gpu in rates) for x in range(12) for y in range(12))


@given(WHOLE)
def test_hypervolume_counts_squares(rates: list[tuple[int, int]]) -> None:
    assert hypervolume(rates) == unit_squares(rates)


@given(WHOLE)
def test_front_is_what_nothing_beats(rates: list[tuple[int, int]]) -> None:
    best = {one for one in rates if not any(o != one and o[0] >= one[0] and o[1] >= one[1] for o in rates)}
    assert front(rates) == sorted(best, reverse=True)


@given(WHOLE, st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_gain_is_the_share_of_new_squares(rates: list[tuple[int, int]], other: tuple[int, int]) -> None:
    expected = unit_squares([*rates, other]) / unit_squares(rates) - 1
    assert gain(rates, other) == pytest.approx(expected)


def test_nothing_dominates_nothing() -> None:
    assert (front([]), hypervolume([])) == ([], 0.0)
