from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.bench.made_up import made_up_trial, made_up_variant
from toolkit.bench.grid import Point
from toolkit.bench.plan_record import SweepPlan, SweepRecord
from toolkit.bench.planner.types import Stop
from toolkit.bench.strategy import Choice, choose, next_block, observe
from toolkit.bench.trial import Trial

LOADS = (1, 2, 4, 8, 16)


def plan(*, variants: tuple[str, ...] = ("a", "b"), gpus: int = 1, **changes: Any) -> SweepPlan:
    repeats = changes.get("repeats", 1)
    strategy = changes.get("strategy", "grid")
    points = tuple(
        Point(4, 3, users, 16, 2 * users, repeat, variant)
        for variant in variants
        for users in LOADS
        for repeat in (range(1, repeats + 1) if strategy == "grid" else (1,))
    )
    fields: dict[str, Any] = {
        "runner": "engine",
        "strategy": strategy,
        "slo": {},
        "repeats": repeats,
        "variants": tuple(made_up_variant(name, gpus=gpus) for name in variants),
        "prompts_sha256": None,
        "workload": {"kind": "fixed"},
        "trace_sha256": None,
        "environment": "e",
        "server": "on this machine",
        "points": points,
    }
    return SweepPlan(**(fields | changes))


def measured(plan: SweepPlan, point: Point, **changes: Any) -> Trial:
    """A made-up trial whose latencies grow with the concurrency; b is slower than a."""
    sweep = SweepRecord(sweep_id="0" * 8, name="made-up-test-data", hardware="CPU", plan=plan)
    slow = 3 if point.variant == "b" else 1
    ttft_ms, tpot_ms = 10 * point.concurrency * slow, (4 + point.concurrency) * slow
    return made_up_trial(sweep, point, ttft_ms=ttft_ms, tpot_ms=tpot_ms, **changes)


def run(plan: SweepPlan, **options: Any) -> tuple[list[Choice], str]:
    """Every choice of a sweep in which all goes well, and why it ended."""
    trials: list[Trial] = []
    choices: list[Choice] = []
    while not isinstance(answer := choose(plan, trials, **options), Stop):
        assert len(choices) < 200
        choices += answer
        trials += [measured(plan, one.point) for one in answer]
    return choices, answer.reason


def test_a_grid_is_every_point_and_repeat() -> None:
    grid = plan(repeats=3)
    choices, reason = run(grid)
    assert sorted(map(str, (one.point for one in choices))) == sorted(map(str, grid.points))
    assert {one.why for one in choices} == {reason} == {"grid: every point is measured"}


def test_the_missing_repeat_is_the_one_that_is_run() -> None:
    grid = plan(repeats=3)
    gone = [grid.points[1], grid.points[5]]
    answer = choose(grid, [measured(grid, point) for point in grid.points if point not in gone])
    assert not isinstance(answer, Stop)
    assert [one.point for one in answer] == gone


@pytest.mark.parametrize("strategy", ["frontier", "ladder"])
def test_resuming_anywhere_gives_the_same_trials(strategy: str) -> None:
    chosen = plan(strategy=strategy, repeats=3, slo={"ttft_p99_ms": 100.0})
    choices, reason = run(chosen)
    points = [one.point for one in choices]
    assert len(set(points)) == len(points)
    rng = random.Random(7)
    for cut in rng.sample(range(len(points)), 6):
        known = [measured(chosen, point) for point in points[:cut]]
        rng.shuffle(known)
        while not isinstance(answer := choose(chosen, known), Stop):
            known += [measured(chosen, one.point) for one in answer]
        assert {trial.point for trial in known} == set(points)
        assert answer.reason == reason


def test_the_frontier_measures_less_than_the_grid_and_repeats_its_winners() -> None:
    chosen = plan(strategy="frontier", repeats=3)
    choices, reason = run(chosen)
    first = {one.point for one in choices if one.point.repeat == 1}
    assert len(first) <= len(chosen.points) // 2 + 1
    assert "repeats: every winner has 3 trials" in reason
    repeated = {one.point.once for one in choices if one.point.repeat == 3}
    assert repeated
    assert {one.why.partition(":")[0] for one in choices} == {"frontier", "repeats"}


def test_the_slo_search_finds_the_highest_load() -> None:
    # TTFT of a is 10 ms a user, of b 30 ms
    choices, reason = run(plan(strategy="ladder", slo={"ttft_p99_ms": 100.0}))
    assert "a keeps it up to 8, not at 16" in reason
    assert "b keeps it up to 2, not at 4" in reason
    assert all(one.point.concurrency <= 16 for one in choices)


def test_the_budget_counts_gpus_and_all_workloads() -> None:
    chosen = plan(gpus=4, variants=("a",))
    known = [measured(chosen, chosen.points[0], duration_s=30.0)]
    # each trial takes two GPU-minutes; one is left after the first
    assert choose(chosen, known, budget=3.0) == Stop("grid: the budget is spent")
    answer = choose(chosen, known, budget=4.0)
    assert not isinstance(answer, Stop)
    assert [one.point for one in answer] == [chosen.points[1]]
    other = replace(chosen.points[0], isl=5)
    two = chosen.model_copy(update={"points": (*chosen.points, other)})
    assert isinstance(choose(two, known, budget=3.0), Stop)


def test_a_variant_that_is_broken_is_left_out() -> None:
    grid = plan()
    answer = choose(grid, [], without={"a"})
    assert not isinstance(answer, Stop)
    assert {one.point.variant for one in answer} == {"b"}
    assert choose(grid, [], without={"a", "b"}) == Stop("no variant can be measured")


def test_what_a_trial_tells_the_planner() -> None:
    grid = plan(gpus=2)
    trial = measured(grid, grid.points[0])
    assert trial.metrics is not None
    seen = observe(trial, 2)
    assert (seen.cell.layout, seen.cell.concurrency, seen.ok, seen.gpu_minutes) == ("a", 1, True, 2.0)
    assert seen.tps_gpu == trial.metrics.system_output_throughput_tok_s / 2
    assert seen.latency == {
        "ttft_p50_ms": 10.0,
        "ttft_p99_ms": 10.0,
        "tpot_p50_ms": 5.0,
        "tpot_p99_ms": 5.0,
        "latency_p50_ms": 20.0,
        "latency_p99_ms": 20.0,
    }
    failed = observe(measured(grid, grid.points[0], status="oom", metrics=None, duration_s=None), 2)
    assert (failed.ok, failed.tps_user, failed.gpu_minutes) == (False, None, None)


def test_a_block_is_what_one_start_can_serve() -> None:
    grid = plan(repeats=2)
    order = grid.model_copy(update={"points": tuple(sorted(grid.points, key=lambda p: (p.repeat, p.variant)))})
    answer = choose(order, [])
    assert not isinstance(answer, Stop)
    rounds = next_block(order, answer, running=None, rounds=True)
    assert {(one.point.variant, one.point.repeat) for one in rounds} == {("a", 1)}
    assert len(rounds) == len(LOADS)
    whole = next_block(order, answer, running="b", rounds=False)
    assert {one.point.variant for one in whole} == {"b"}
    assert len(whole) == 2 * len(LOADS)
    gone = next_block(order, answer, running="c", rounds=False)
    assert {one.point.variant for one in gone} == {"a"}
