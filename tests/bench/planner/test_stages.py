from __future__ import annotations

from collections import Counter

from tests.bench.planner.worlds import STEPS, observe, rates, run, space, usual
from toolkit.bench.planner.frontier import Frontier
from toolkit.bench.planner.measured import read
from toolkit.bench.planner.pareto import front
from toolkit.bench.planner.simple import Grid
from toolkit.bench.planner.slo import Slo, SloSearch
from toolkit.bench.planner.stages import Confirm, Stages
from toolkit.bench.planner.types import Batch, Budget, Cell, Observation, Proposal, Stop

GRID = space(tp1=(1, STEPS), tp4=(4, STEPS))
RATES = rates(GRID, usual)


def trial(proposal: Proposal) -> Observation:
    user, gpu = RATES[proposal.cell]
    return Observation(proposal.cell, tps_user=user, tps_gpu=gpu, latency={"tpot_ms": 1000 / user})


def test_the_front_is_repeated_and_nothing_else() -> None:
    _, seen, stop = run(Stages((Grid(), Confirm())), GRID, trial)
    count = Counter(one.cell for one in seen)
    best = set(front(RATES.values()))
    assert count == {cell: 3 if rate in best else 1 for cell, rate in RATES.items()}
    assert stop == Stop("grid: every point is measured; repeats: every winner has 3 trials")


def test_a_front_that_a_repeat_moves_is_repeated_where_it_is_now() -> None:
    grid = space(tp1=(1, (1, 2)))
    lucky, steady = grid.cells
    values = {(lucky, 1): (20.0, 200.0), (steady, 1): (15.0, 150.0), (steady, 2): (15.0, 150.0)}
    repeats, seen, _ = run(
        Stages((Grid(), Confirm(repeats=2))),
        grid,
        lambda one: Observation(
            one.cell,
            tps_user=values.get((one.cell, one.repeat), (6.0, 60.0))[0],
            tps_gpu=values.get((one.cell, one.repeat), (6.0, 60.0))[1],
        ),
    )
    assert [(one.cell, one.repeat) for one in repeats] == [(lucky, 1), (steady, 1), (lucky, 2), (steady, 2)]
    assert front(read(grid, seen).rates.values()) == [(15.0, 150.0)]


def test_winners_of_an_slo_are_repeated() -> None:
    search = SloSearch(Slo({"tpot_ms": 8.0}))
    planner = Stages((Frontier(), search, Confirm(repeats=4, search=search)))
    _, seen, stop = run(planner, GRID, trial)
    count = Counter(one.cell for one in seen)
    winners = set(search.winners(read(GRID, seen)))
    assert winners == {Cell("tp1", 16), Cell("tp4", 64)}
    assert {cell for cell, trials in count.items() if trials == 4} == winners
    assert "tp1 keeps it up to 16, not at 32" in stop.reason
    assert stop.reason.endswith("repeats: every winner has 4 trials")


def test_repeats_have_a_budget() -> None:
    grid = space(tp1=(1, (1,)))
    once = [observe(grid.cells[0], RATES)]
    answer = Confirm().propose(grid, once)
    assert answer == Batch((Proposal(grid.cells[0], 2, "repeats: on the front, trial 2 of 3"),))
    spent = [Observation(grid.cells[0], tps_user=1.0, tps_gpu=1.0, gpu_minutes=5.0)]
    assert Confirm(budget=Budget(gpu_minutes=4.0)).propose(grid, spent) == Stop("repeats: the budget is spent")


def test_nothing_measured_has_no_winner() -> None:
    assert Confirm().propose(GRID, []) == Stop("repeats: every winner has 3 trials")
