from __future__ import annotations

from tests.bench.planner.worlds import STEPS, observe, rates, run, space, usual
from toolkit.bench.planner.simple import Climb, Grid
from toolkit.bench.planner.slo import Slo
from toolkit.bench.planner.types import Batch, Budget, Cell, Observation, Proposal, Stop

GRID = space(tp1=(1, (1, 2, 4)), tp2=(2, (4,)))


def test_grid_asks_for_everything_once() -> None:
    answer = Grid().propose(GRID, [])
    assert answer == Batch(tuple(Proposal(cell, 1, "grid: every point is measured") for cell in GRID.cells))
    done = [Observation(cell, ok=False) for cell in GRID.cells]
    assert Grid().propose(GRID, done) == Stop("grid: every point is measured")


def test_grid_asks_for_what_is_missing_and_paid() -> None:
    done = [Observation(Cell("tp1", 2), ok=False)]
    answer = Grid(Budget(trials=3)).propose(GRID, done)
    assert isinstance(answer, Batch)
    assert [one.cell for one in answer.proposals] == [Cell("tp1", 1), Cell("tp1", 4)]
    assert Grid(Budget(trials=1)).propose(GRID, done) == Stop("grid: the budget is spent")


def climbed(planner: Climb, tpot: dict[int, float], failing: frozenset[int] = frozenset()) -> list[int]:
    """Concurrencies asked for on one layout with these seconds a token."""
    grid = space(tp1=(1, sorted(tpot)))
    truth = rates(grid, lambda ladder, users: tpot[users])

    def trial(proposal: Proposal) -> Observation:
        if proposal.cell.concurrency in failing:
            return Observation(proposal.cell, ok=False)
        user, gpu = truth[proposal.cell]
        return Observation(proposal.cell, tps_user=user, tps_gpu=gpu, latency={"tpot_ms": 1000 / user})

    return [one.cell.concurrency for one in run(planner, grid, trial)[0]]


def test_ladder_climbs_until_it_stalls() -> None:
    slow = {1: 0.01, 2: 0.01, 4: 0.0198, 8: 0.02, 16: 0.02}
    assert climbed(Climb(), slow) == [1, 2, 4]
    assert climbed(Climb(stall=0.01), slow) == [1, 2, 4, 8, 16]


def test_ladder_climbs_until_it_fails_or_breaks_the_slo() -> None:
    steady = dict.fromkeys((1, 2, 4, 8), 0.01) | {4: 0.012, 8: 0.013}
    assert climbed(Climb(), steady, frozenset({4})) == [1, 2, 4]
    assert climbed(Climb(slo=Slo({"tpot_ms": 11.0})), steady) == [1, 2, 4]


def test_ladder_climbs_side_by_side() -> None:
    answer = Climb().propose(GRID, [])
    assert isinstance(answer, Batch)
    assert [one.cell for one in answer.proposals] == [Cell("tp1", 1), Cell("tp2", 4)]
    assert Climb(budget=Budget(trials=0)).propose(GRID, []) == Stop("ladder: the budget is spent")


def test_a_trial_without_values_does_not_end_the_climb() -> None:
    done = [Observation(Cell("tp1", 1)), Observation(Cell("tp2", 4))]
    answer = Climb().propose(GRID, done)
    assert answer == Batch((Proposal(Cell("tp1", 2), 1, "ladder: the next step of tp1"),))


def test_ladder_measures_all_of_a_curve_that_rises_to_its_end() -> None:
    grid = space(tp1=(1, STEPS), tp4=(4, STEPS))
    truth = rates(grid, usual)
    proposals, _, stop = run(Climb(), grid, lambda one: observe(one.cell, truth))
    assert {one.cell for one in proposals} == set(grid.cells)
    assert stop == Stop("ladder: every layout has reached its end")
