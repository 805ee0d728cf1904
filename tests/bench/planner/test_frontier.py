from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.planner.worlds import STEPS, Rates, observe, rates, run, space, usual
from toolkit.bench.planner.frontier import Frontier
from toolkit.bench.planner.measured import read
from toolkit.bench.planner.pareto import front, hypervolume
from toolkit.bench.planner.types import Batch, Budget, Cell, Ladder, Observation, Proposal, Space, Stop

GRID = space(tp1=(1, STEPS), tp2=(2, STEPS), tp4=(4, STEPS), tp8=(8, STEPS))
RATES = rates(GRID, usual)


def measured(planner: Frontier, grid: Space, truth: Rates) -> set[Cell]:
    return {one.cell for one in run(planner, grid, lambda one: observe(one.cell, truth))[0]}


def recovered(cells: set[Cell], truth: Rates) -> float:
    return hypervolume(truth[cell] for cell in cells) / hypervolume(truth.values())


def test_half_of_the_cells_recover_the_front() -> None:
    cells = measured(Frontier(), GRID, RATES)
    assert len(cells) == 19  # half of 36 and one
    assert recovered(cells, RATES) > 0.97


def test_the_first_trials_and_their_reason() -> None:
    answer = Frontier().propose(GRID, [])
    why = "frontier: the layout's highest concurrency, where its tok/s/GPU ends"
    assert answer == Batch(tuple(Proposal(Cell(f"tp{n}", 256), 1, why) for n in (1, 2, 4, 8)))


def test_each_later_trial_says_what_it_could_bring() -> None:
    proposals, _, stop = run(Frontier(), GRID, lambda one: observe(one.cell, RATES))
    reasons = [one.reason for one in proposals[4:]]
    assert all("expected" in reason and "±" in reason for reason in reasons)
    assert reasons[0].startswith("frontier: could enlarge the front by ")
    assert stop == Stop("frontier: the budget is spent")


def test_it_stops_before_the_budget_when_nothing_can_move() -> None:
    grid = space(tp1=(1, range(1, 200)))
    truth = rates(grid, usual)
    proposals, _, stop = run(Frontier(), grid, lambda one: observe(one.cell, truth))
    assert stop.reason.startswith(
        "frontier: no point could enlarge the front by 0.5%, and every curve is known to 2.0%"
    )
    assert len(proposals) < 60
    cells = {one.cell for one in proposals}
    assert recovered(cells, truth) > 0.95


@dataclass(frozen=True)
class Shape:
    """Seconds a token, from the ladder and the users."""

    name: str
    grid: Space
    tpot: Mapping[Cell, float]
    least: float

    @property
    def truth(self) -> dict[Cell, tuple[float, float]]:
        return rates(self.grid, lambda ladder, users: self.tpot[Cell(ladder.layout, users)])


def shape(name: str, least: float, grid: Space = GRID, **change: float) -> Shape:
    """``usual`` with some cells slower or faster; keys like ``tp4_64`` or ``tp4``, values are factors."""
    tpot = {
        cell: usual(ladder, cell.concurrency)
        * change.get(ladder.layout, 1.0)
        * change.get(f"{ladder.layout}_{cell.concurrency}", 1.0)
        for ladder in grid.ladders
        for cell in ladder.cells
    }
    return Shape(name, grid, tpot, least)


SHAPES = [
    shape("a middle layout is the whole front", 0.97, tp1=6.0, tp4=4.0, tp8=6.0),
    shape("the largest layout is the whole front", 0.97, tp1=9.0, tp2=9.0, tp4=9.0),
    shape("a cliff at the end", 0.97, tp1_256=28.0, tp2_256=28.0),
    shape("a cliff in the middle", 0.95, **{f"tp1_{n}": 20.0 for n in (32, 64, 128, 256)}),
    shape("one slow point", 0.97, tp1_16=3.0),
    shape("one fast point", 0.9, tp8_16=0.4),
    shape("two and one steps", 0.92, space(tp1=(1, (4, 64)), tp2=(2, (64,)), tp4=(4, (4, 64)), tp8=(8, STEPS))),
    shape("one layout", 0.9, space(tp2=(2, STEPS))),
    Shape("a plateau", GRID, dict.fromkeys(GRID.cells, 0.01), 0.99),
    Shape("no scaling at all", GRID, {cell: 0.001 * cell.concurrency for cell in GRID.cells}, 0.97),
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda case: case.name)
def test_shapes_with_known_fronts(case: Shape) -> None:
    cells = measured(Frontier(), case.grid, case.truth)
    assert len(cells) <= len(case.grid.cells) // 2 + 1
    assert recovered(cells, case.truth) >= case.least


@pytest.mark.parametrize(("steps", "count"), [((8,), 1), ((8, 16), 2), ((8, 16, 32), 2)])
def test_the_smallest_spaces(steps: tuple[int, ...], count: int) -> None:
    grid = space(tp1=(1, steps))
    assert len(measured(Frontier(), grid, rates(grid, usual))) == count


def test_noise_that_breaks_monotony_does_not_hide_the_front() -> None:
    for seed in range(5):
        noise = random.Random(seed)
        truth = {cell: (user * (e := math.exp(noise.gauss(0, 0.05))), gpu * e) for cell, (user, gpu) in RATES.items()}
        assert recovered(measured(Frontier(), GRID, truth), truth) > 0.94


def test_gpu_minutes_are_a_budget_too() -> None:
    grid = Space(tuple(Ladder(one.layout, one.gpus, STEPS, gpu_minutes=2.0 * one.gpus) for one in GRID.ladders))
    proposals, seen, stop = run(Frontier(Budget(gpu_minutes=50.0)), grid, lambda one: observe(one.cell, RATES))
    assert 48 <= read(grid, seen).gpu_minutes <= 50
    assert stop == Stop("frontier: the budget is spent")
    assert proposals[:4] == list(Frontier().propose(grid, []).proposals)  # type: ignore[union-attr]


def test_what_a_trial_cost_counts_more_than_its_estimate() -> None:
    grid = Space((Ladder("tp1", 1, STEPS, gpu_minutes=1.0),))
    slow = Observation(Cell("tp1", 256), tps_user=10.0, tps_gpu=900.0, gpu_minutes=8.5)
    assert Frontier(Budget(gpu_minutes=9.0)).propose(grid, [slow]) == Stop("frontier: the budget is spent")


def test_out_of_memory_at_the_top_is_bisected() -> None:
    grid = space(tp1=(1, STEPS), tp2=(2, STEPS))
    truth = rates(grid, usual)

    def trial(proposal: Proposal) -> Observation:
        if proposal.cell.layout == "tp1" and proposal.cell.concurrency > 32:
            return Observation(proposal.cell, ok=False)
        return observe(proposal.cell, truth)

    proposals, seen, _ = run(Frontier(), grid, trial)
    fails = [one.cell.concurrency for one in proposals if not trial(one).ok]
    assert fails == [256, 64]
    fits = {cell for cell in grid.cells if trial(Proposal(cell, 1, "")).ok}
    whole = hypervolume(truth[cell] for cell in fits)
    assert hypervolume(read(grid, seen).rates.values()) / whole > 0.9


def test_when_everything_fails_it_ends() -> None:
    proposals, _, stop = run(Frontier(), GRID, lambda one: Observation(one.cell, ok=False))
    assert stop == Stop("frontier: every point is measured") or stop == Stop("frontier: the budget is spent")
    assert {one.reason for one in proposals[4:]} == {"frontier: no trial gave values yet"}


def test_trials_without_values_are_not_asked_for_again() -> None:
    proposals, _, _ = run(Frontier(), GRID, lambda one: Observation(one.cell, tps_user=math.nan, tps_gpu=1.0))
    assert len(proposals) == 19


@dataclass(frozen=True)
class Known:
    values: Mapping[Cell, tuple[float, float]]
    provenance: str = "a table of 2025, ±20 %"

    def predict(self, cell: Cell) -> tuple[float, float] | None:
        return self.values.get(cell)


def test_a_predictor_orders_the_first_trials_and_says_so() -> None:
    values = {Cell("tp4", 256): (50.0, 900.0), Cell("tp2", 256): (30.0, 800.0)}
    answer = Frontier(predictor=Known(values)).propose(GRID, [])
    assert isinstance(answer, Batch)
    assert [one.cell.layout for one in answer.proposals] == ["tp4", "tp2", "tp1", "tp8"]
    assert {one.reason.split("; ")[1] for one in answer.proposals} == {"ordered by a table of 2025, ±20 %"}


def test_a_wrong_predictor_changes_no_result() -> None:
    wrong = {cell: (1 / user, 1 / gpu) for cell, (user, gpu) in RATES.items()}
    assert measured(Frontier(predictor=Known(wrong)), GRID, RATES) == measured(Frontier(), GRID, RATES)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Space, dict[Cell, Observation]]:
    """Any ladders and any outcomes: failures, missing values, NaN, no monotony."""
    ladders = draw(
        st.lists(
            st.tuples(
                st.sampled_from((1, 2, 4, 8)), st.sets(st.sampled_from(STEPS), min_size=1, max_size=6).map(sorted)
            ),
            min_size=1,
            max_size=4,
        )
    )
    grid = Space(tuple(Ladder(f"l{n}", gpus, tuple(steps), 1.0) for n, (gpus, steps) in enumerate(ladders)))
    value = st.one_of(st.none(), st.just(math.nan), st.floats(1e-3, 1e6))
    good = st.floats(0.1, 1e5)
    return grid, {
        cell: draw(
            st.one_of(
                st.builds(Observation, st.just(cell), tps_user=good, tps_gpu=good),
                st.builds(Observation, st.just(cell), ok=st.booleans(), tps_user=value, tps_gpu=value),
            )
        )
        for cell in grid.cells
    }


@settings(max_examples=40)
@given(worlds(), st.one_of(st.none(), st.integers(0, 12)), st.one_of(st.none(), st.floats(0, 12)))
def test_it_ends_within_the_budget_and_repeats_nothing(
    world: tuple[Space, dict[Cell, Observation]], trials: int | None, minutes: float | None
) -> None:
    grid, outcomes = world
    proposals, _, _ = run(Frontier(Budget(trials, minutes)), grid, lambda one: outcomes[one.cell])
    assert len(proposals) <= (len(grid.cells) // 2 + 1 if trials is None else trials)
    assert minutes is None or len(proposals) <= minutes
    assert {one.repeat for one in proposals} <= {1}


@settings(max_examples=40)
@given(worlds())
def test_everything_measured_is_the_grid_s_front(world: tuple[Space, dict[Cell, Observation]]) -> None:
    grid, outcomes = world
    outcomes = {
        cell: Observation(cell, tps_user=one.tps_user or 1.0, tps_gpu=one.tps_gpu or 1.0)
        for cell, one in outcomes.items()
    }
    thorough = Frontier(Budget(trials=len(grid.cells)), least_gain=0.0, tolerance=0.0)
    _, seen, stop = run(thorough, grid, lambda one: outcomes[one.cell])
    assert {one.cell for one in seen} == set(grid.cells)
    assert stop == Stop("frontier: every point is measured")
    assert front(read(grid, seen).rates.values()) == front(read(grid, list(outcomes.values())).rates.values())


@settings(max_examples=40)
@given(worlds(), st.randoms(use_true_random=False))
def test_order_and_names_do_not_matter(world: tuple[Space, dict[Cell, Observation]], chance: random.Random) -> None:
    grid, outcomes = world
    distinct = Space(tuple(Ladder(one.layout, n + 1, one.concurrencies) for n, one in enumerate(grid.ladders)))
    labels = [f"x{n}" for n in range(len(distinct.ladders))]
    chance.shuffle(labels)
    names = {one.layout: label for one, label in zip(distinct.ladders, labels, strict=True)}
    ladders = [Ladder(names[one.layout], one.gpus, one.concurrencies) for one in distinct.ladders]
    chance.shuffle(ladders)
    renamed = Space(tuple(ladders))
    _, seen, _ = run(Frontier(), distinct, lambda one: outcomes[one.cell])
    for count in range(len(seen) + 1):
        known = seen[:count]
        moved = [moved_to(one, names) for one in known]
        chance.shuffle(moved)
        one, other = Frontier().propose(distinct, known), Frontier().propose(renamed, moved)
        if isinstance(one, Stop) or isinstance(other, Stop):
            assert one == other
        else:
            expected = [Proposal(Cell(names[p.cell.layout], p.cell.concurrency), 1, p.reason) for p in one.proposals]
            assert list(other.proposals) == expected


def moved_to(one: Observation, names: Mapping[str, str]) -> Observation:
    cell = Cell(names[one.cell.layout], one.cell.concurrency)
    return Observation(cell, one.ok, one.tps_user, one.tps_gpu)
