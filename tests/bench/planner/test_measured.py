from __future__ import annotations

import math
import random

import pytest

from tests.bench.planner.worlds import space
from toolkit.bench.planner.measured import read
from toolkit.bench.planner.types import Budget, Cell, Ladder, Observation, Space

STEPS = (1, 2, 4, 8, 16, 32, 64)


def cells(*steps: int) -> tuple[Cell, ...]:
    return tuple(Cell("tp1", step) for step in steps)


def seen(**outcomes: bool) -> list[Observation]:
    return [
        Observation(Cell("tp1", int(name[1:])), ok, tps_user=1.0 if ok else None, tps_gpu=1.0 if ok else None)
        for name, ok in outcomes.items()
    ]


def test_repeats_count_by_their_median_in_any_order() -> None:
    cell, other = cells(1, 2)
    trials = [Observation(cell, tps_user=user, tps_gpu=10 * user, gpu_minutes=0.1) for user in (5.0, 3.0, 9.0)]
    trials += [Observation(cell, ok=False), Observation(other, ok=False)]
    ladder = Space((Ladder("tp1", 1, (1, 2), gpu_minutes=2.0),))
    for seed in range(3):
        random.Random(seed).shuffle(trials)
        measured = read(ladder, trials)
        assert measured.rates == {cell: (5.0, 50.0)}
        assert measured.failed == {other}
        assert {one: len(several) for one, several in measured.trials.items()} == {cell: 4, other: 1}
        assert measured.gpu_minutes == math.fsum([0.1, 0.1, 0.1, 2.0, 2.0])


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 0.0, -1.0])
def test_a_trial_without_a_value_is_done_and_neither_failed_nor_measured(value: float | None) -> None:
    grid = space(tp1=(1, (1, 2)))
    for trial in (Observation(Cell("tp1", 1), tps_user=value, tps_gpu=1.0), Observation(Cell("tp1", 1), tps_gpu=value)):
        measured = read(grid, [trial])
        assert (measured.rates, measured.failed) == ({}, frozenset())
        assert measured.open() == cells(2)


def test_cells_of_another_space_are_not_looked_at() -> None:
    grid = space(tp1=(1, (1, 2)))
    others = [Observation(Cell("tp9", 1), tps_user=1.0, tps_gpu=1.0), Observation(Cell("tp1", 3), gpu_minutes=9.0)]
    assert read(grid, others) == read(grid, [])


@pytest.mark.parametrize(
    ("outcomes", "still"),
    [
        ({}, STEPS),
        ({"c1": True}, STEPS[1:]),
        ({"c64": False}, (8,)),  # of 1 to 32, the middle
        ({"c64": False, "c8": True}, (1, 2, 4, 32)),
        ({"c64": False, "c8": False}, (2,)),
        ({"c1": False}, ()),
        ({"c1": False, "c64": True}, STEPS[1:-1]),  # the larger success contradicts the failure
        ({"c1": True, "c2": False}, ()),
    ],
)
def test_a_failure_closes_what_is_above_it(outcomes: dict[str, bool], still: tuple[int, ...]) -> None:
    assert read(space(tp1=(1, STEPS)), seen(**outcomes)).open() == cells(*still)


def test_between_a_peak_and_what_is_past_it_only_the_middle_is_open() -> None:
    grid = space(tp1=(1, STEPS))

    def rate(step: int, gpu: float) -> Observation:
        return Observation(Cell("tp1", step), tps_user=1.0, tps_gpu=gpu)

    steady = read(grid, [rate(2, 100.0), rate(64, 81.0)])
    assert (steady.past_peak, steady.open()) == (frozenset(), cells(1, 4, 8, 16, 32))
    falling = read(grid, [rate(2, 100.0), rate(64, 79.0)])
    assert (falling.past_peak, falling.open()) == (frozenset(cells(64)), cells(1, 16))
    known = read(grid, [rate(2, 100.0), rate(64, 79.0), rate(16, 90.0)])
    assert (known.past_peak, known.open()) == (frozenset(cells(64)), cells(1, 4, 8, 32))


def test_what_a_budget_pays_for() -> None:
    grid = Space((Ladder("a", 1, (1, 2), gpu_minutes=1.0), Ladder("b", 4, (1, 2), gpu_minutes=4.0)))
    measured = read(grid, [Observation(Cell("a", 1), tps_user=1.0, tps_gpu=1.0)])
    a, b, c, d = grid.cells
    assert measured.affordable(grid.cells, Budget()) == [a, b, c, d]
    assert measured.affordable(grid.cells, Budget(trials=2)) == [a, b]  # another trial of a is no new cell
    assert measured.affordable([d, c, b], Budget(gpu_minutes=6.0)) == [d, b]
    assert measured.affordable(grid.cells, Budget(gpu_minutes=0.5)) == []
