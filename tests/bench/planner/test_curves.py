from __future__ import annotations

import math

import numpy as np
import pytest

from tests.bench.planner.worlds import STEPS, observe, rates, space, usual
from toolkit.bench.planner.curves import Estimate, at_best, estimate
from toolkit.bench.planner.measured import read
from toolkit.bench.planner.types import Cell, Observation

GRID = space(tp1=(1, STEPS), tp2=(2, STEPS), tp4=(4, STEPS))
RATES = rates(GRID, usual)


def test_what_is_measured_is_known_and_what_lies_between_is_close() -> None:
    shown = [cell for cell in GRID.cells if cell.concurrency in (1, 4, 16, 64, 256)]
    measured = read(GRID, [observe(cell, RATES) for cell in shown])
    guesses = dict(zip(GRID.cells, estimate(measured, GRID.cells), strict=True))
    for cell, guess in guesses.items():
        near = 0.01 if cell in shown else 0.04
        assert (guess.tps_user, guess.tps_gpu) == pytest.approx(RATES[cell], rel=near)
    assert max(guesses[cell].deviation for cell in shown) < 0.02  # the noise of one trial


def test_a_layout_without_a_trial_follows_the_others_and_says_how_little_that_is() -> None:
    measured = read(GRID, [observe(cell, RATES) for cell in GRID.cells if cell.layout != "tp2"])
    guess = dict(zip(GRID.cells, estimate(measured, GRID.cells), strict=True))
    assert guess[Cell("tp2", 16)].tps_gpu == pytest.approx(RATES[Cell("tp2", 16)][1], rel=0.15)
    assert guess[Cell("tp2", 16)].deviation > 0.3


def test_one_trial_is_enough_for_an_estimate_of_all() -> None:
    measured = read(GRID, [observe(GRID.cells[0], RATES)])
    for guess in estimate(measured, GRID.cells[1:]):
        assert guess.tps_user > 0
        assert guess.tps_gpu > 0
        assert 0 < guess.deviation < 5


def test_against_the_textbook_formula() -> None:
    """One layout, two trials, the kernel written out."""
    grid = space(tp2=(2, (2, 4, 8)))
    low, middle, high = grid.cells
    given = {low: (100.0, 90.0), high: (50.0, 180.0)}
    (guess,) = estimate(read(grid, [observe(cell, given) for cell in given]), [middle])

    def k(a: float, b: float) -> float:
        shared = 1 + 0.09 * a * b + 0.16 * math.exp(-((a - b) ** 2) / 50)
        return shared + 0.16 + 0.01 * a * b + 0.01 * math.exp(-((a - b) ** 2) / 12.5)

    matrix = np.array([[k(a, b) for b in (-1, 1)] for a in (-1, 1)]) + 0.0004 * np.eye(2)
    cross = np.array([k(0, -1), k(0, 1)])
    inverse = np.linalg.inv(matrix)
    logs = np.log([[100, 90 * 2 / 2], [50, 180 * 2 / 8]])
    user, server = logs.mean(axis=0) + cross @ inverse @ (logs - logs.mean(axis=0))
    assert guess.tps_user == pytest.approx(math.exp(user))
    assert guess.tps_gpu == pytest.approx(math.exp(server) * 4 / 2)
    assert guess.deviation == pytest.approx(math.sqrt(k(0, 0) - cross @ inverse @ cross))


def test_names_and_order_do_not_change_a_bit() -> None:
    shown = [observe(cell, RATES) for cell in GRID.cells[::2]]
    names = {"tp1": "z", "tp2": "a", "tp4": "m"}
    renamed = space(a=(2, STEPS), m=(4, STEPS), z=(1, STEPS))
    moved = [
        Observation(Cell(names[one.cell.layout], one.cell.concurrency), tps_user=one.tps_user, tps_gpu=one.tps_gpu)
        for one in reversed(shown)
    ]
    other = [Cell(names[cell.layout], cell.concurrency) for cell in GRID.cells]
    assert estimate(read(GRID, shown), GRID.cells) == estimate(read(renamed, moved), other)


def test_at_best_is_no_faster_than_under_less_load() -> None:
    grid = space(tp1=(1, (1, 2, 4)), tp2=(2, (1,)))
    one = Observation(Cell("tp1", 1), tps_user=100.0, tps_gpu=90.0)
    measured = read(grid, [one, Observation(Cell("tp2", 1), tps_user=1.0, tps_gpu=1.0)])
    sure = Estimate(80.0, 150.0, 0.0)
    assert at_best(measured, Cell("tp1", 2), sure, 1.5) == (80.0, 150.0)
    vague = Estimate(80.0, 150.0, 1.0)
    assert at_best(measured, Cell("tp1", 2), vague, 1.5) == pytest.approx((1.02 * 100, 1.02 * 90 * 2))
