from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.planner.worlds import run, space
from toolkit.bench.planner.measured import read
from toolkit.bench.planner.slo import Slo, SloSearch
from toolkit.bench.planner.types import Budget, Cell, Observation, Proposal, Stop
from toolkit.errors import RecipeError

SLO = Slo({"ttft_ms": 200.0, "tpot_ms": 20.0})


def outcome(cell: Cell, tpot_ms: float) -> Observation:
    return Observation(cell, latency={"ttft_ms": 100.0, "tpot_ms": tpot_ms})


def search(
    tpot: Callable[[int, int], float], steps: range | tuple[int, ...] = range(1, 257), planner: SloSearch | None = None
) -> tuple[list[tuple[int, int]], str, list[Observation]]:
    """(concurrency, repeat) of each trial, the last word and what was seen; ``tpot`` knows both."""
    planner = planner or SloSearch(SLO)

    def trial(one: Proposal) -> Observation:
        return outcome(one.cell, tpot(one.cell.concurrency, one.repeat))

    proposals, seen, stop = run(planner, space(tp1=(1, steps)), trial)
    return [(one.cell.concurrency, one.repeat) for one in proposals], stop.reason, seen


@pytest.mark.parametrize(
    ("trial", "load"),
    [
        (Observation(Cell("a", 1), latency={"ttft_ms": 150.0, "tpot_ms": 10.0, "other": 1e9}), 0.75),
        (Observation(Cell("a", 1), latency={"ttft_ms": 50.0, "tpot_ms": 30.0}), 1.5),
        (Observation(Cell("a", 1), latency={"tpot_ms": 1.0}), math.inf),
        (Observation(Cell("a", 1), latency={"ttft_ms": math.nan, "tpot_ms": 1.0}), math.inf),
        (Observation(Cell("a", 1), ok=False, latency={"ttft_ms": 1.0, "tpot_ms": 1.0}), math.inf),
    ],
)
def test_load_of_a_trial(trial: Observation, load: float) -> None:
    assert SLO.load(trial) == load


@pytest.mark.parametrize("limits", [{}, {"ttft_ms": 0.0}, {"ttft_ms": math.nan}, {"ttft_ms": math.inf}])
def test_limits_are_positive(limits: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=r"^bench\.slo: an SLO needs limits above 0$"):
        Slo(limits)


def test_doubling_then_bisection_then_the_verdict_once_more() -> None:
    trials, word, _ = search(lambda users, repeat: 10 + users / 10)
    doubled = [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (32, 1), (64, 1), (128, 1)]
    assert trials == [*doubled, (91, 1), (108, 1), (99, 1), (103, 1), (99, 2)]
    assert word == "SLO: tp1 keeps it up to 99, not at 103"


def test_far_from_the_limit_one_verdict_is_enough() -> None:
    trials, word, _ = search(lambda users, repeat: 10.0 if users <= 4 else 30.0, (1, 4, 16))
    assert trials == [(1, 1), (4, 1), (16, 1)]
    assert word == "SLO: tp1 keeps it up to 4, not at 16"


def test_next_to_a_cliff_three_verdicts_have_to_agree() -> None:
    trials, word, _ = search(lambda users, repeat: 10.0 if users <= 4 else 300.0, (1, 4, 16))
    assert trials == [(1, 1), (4, 1), (16, 1), (4, 2), (4, 3)]
    assert word == "SLO: tp1 keeps it up to 4, not at 16, a cliff"


def test_a_verdict_that_does_not_hold_is_taken_back() -> None:
    """At 16 the first trial was lucky; two of three break the SLO."""

    def tpot(users: int, repeat: int) -> float:
        if users == 16:
            return 19.0 if repeat == 1 else 21.0
        return 10.0 if users < 16 else 25.0

    trials, word, _ = search(tpot, (4, 8, 16, 32))
    assert trials == [(4, 1), (8, 1), (16, 1), (32, 1), (16, 2)]
    assert word == "SLO: tp1 keeps it up to 8, not at 16"


def test_kept_nowhere_and_kept_everywhere() -> None:
    assert search(lambda users, repeat: 50.0)[:2] == ([(1, 1)], "SLO: tp1 keeps it nowhere")
    trials, word, _ = search(lambda users, repeat: 5.0, (1, 2, 3, 12))
    assert [users for users, _ in trials] == [1, 2, 3, 12]
    assert word == "SLO: tp1 keeps it up to 12, the end"


def test_what_is_recorded_is_not_measured_again() -> None:
    grid = space(tp1=(1, (1, 2, 4, 8, 16, 32)))
    seen = [outcome(Cell("tp1", 2), 10.0), outcome(Cell("tp1", 32), 30.0)]
    answer = SloSearch(SLO).propose(grid, seen)
    assert not isinstance(answer, Stop)
    assert answer.proposals == (Proposal(Cell("tp1", 8), 1, "SLO: kept at 2, broken at 32"),)


def test_layouts_side_by_side_within_a_budget() -> None:
    grid = space(tp1=(1, (1, 2)), tp2=(2, (1, 2)))
    answer = SloSearch(SLO, budget=Budget(trials=1)).propose(grid, [])
    assert not isinstance(answer, Stop)
    assert [one.cell for one in answer.proposals] == [Cell("tp1", 1)]
    seen = [outcome(Cell("tp1", 1), 5.0)]
    assert SloSearch(SLO, budget=Budget(trials=1)).propose(grid, seen) == Stop("SLO: the budget is spent")


def test_winners() -> None:
    grid = space(tp1=(1, (1, 2, 4)), tp2=(2, (1, 2)))
    seen = [outcome(Cell("tp1", 1), 5.0), outcome(Cell("tp1", 2), 5.0), outcome(Cell("tp1", 4), 50.0)]
    assert SloSearch(SLO).winners(read(grid, seen)) == (Cell("tp1", 2),)


@given(st.integers(1, 300), st.floats(0, 0.3), st.integers(0, 5))
def test_it_ends_near_the_limit_whatever_the_noise(last: int, noise: float, seed: int) -> None:
    def tpot(users: int, repeat: int) -> float:
        wobble = ((users * 2654435761 + repeat * 40503 + seed * 97) % 1000) / 500 - 1
        return (20.0 * (users / (last + 0.5)) ** 0.5) * (1 + noise * wobble)

    trials, _, seen = search(tpot)
    assert len(trials) <= 8 + 8 * 5
    winners = SloSearch(SLO).winners(read(space(tp1=(1, range(1, 257))), seen))
    if noise == 0:
        assert [cell.concurrency for cell in winners] == [pytest.approx(min(last, 256), rel=0.06, abs=1)]
