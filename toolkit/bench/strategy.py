"""Which points come next, from the plan and the trials so far: pure, so a sweep resumes from its records.

Each ISL/OSL is a space of its own for the planner, each variant one of its layouts.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from toolkit.bench.grid import Point
from toolkit.bench.plan_record import SweepPlan
from toolkit.bench.planner.frontier import Frontier
from toolkit.bench.planner.measured import read
from toolkit.bench.planner.simple import Climb
from toolkit.bench.planner.slo import Slo, SloSearch
from toolkit.bench.planner.stages import Confirm, Stages
from toolkit.bench.planner.types import Batch, Budget, Cell, Ladder, Observation, Planner, Proposal, Space, Stop
from toolkit.bench.trial import Trial

LEAST_FOR_FRONTIER = 4
"""Points of one ISL/OSL from which on choosing saves a trial: the frontier measures half of them and one more."""
WINNER_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """A trial to run, and why."""

    point: Point
    why: str


@dataclass(frozen=True, slots=True)
class Repeated:
    """``grid``: every cell ``repeats`` times."""

    repeats: int
    budget: Budget = field(default_factory=Budget)

    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        measured = read(space, observations)
        missing = [
            Proposal(cell, repeat, "grid: every point is measured")
            for cell in space.cells
            for repeat in range(len(measured.trials.get(cell, ())) + 1, self.repeats + 1)
        ]
        affordable = len(measured.affordable([one.cell for one in missing], self.budget))
        if affordable:
            return Batch(tuple(missing[:affordable]))
        return Stop("grid: the budget is spent" if missing else "grid: every point is measured")


def choose(
    plan: SweepPlan, trials: Sequence[Trial], *, budget: float | None = None, without: Collection[str] = ()
) -> tuple[Choice, ...] | Stop:
    """The next trials in the order of the plan, with the first repeat that each has not had; or why there is none.

    ``trials`` are those that say something about their points. ``budget`` is GPU-minutes of all of them, ``without``
    names variants that cannot be measured any more.
    """
    done = {trial.point for trial in trials}
    choices: list[Choice] = []
    reasons: dict[str, None] = {}
    for points in _spaces(plan, without):
        answer = _propose(plan, points, trials, budget)
        if isinstance(answer, Stop):
            reasons[answer.reason] = None
            continue
        for proposal in answer.proposals:
            point = _free(points[proposal.cell], done)
            done.add(point)
            choices.append(Choice(point, proposal.reason))
    return tuple(choices) or Stop("; ".join(reasons) or "no variant can be measured")


def next_block(plan: SweepPlan, choices: Sequence[Choice], *, running: str | None, rounds: bool) -> tuple[Choice, ...]:
    """Those of ``choices`` that are run with one start, in the order of the plan.

    All of the variant that is ``running``, where there are any, else of the first; with ``rounds`` only those before
    another variant's turn.
    """
    exact = {point: number for number, point in enumerate(plan.points)}
    first = {point.once: number for point, number in reversed(exact.items())}
    ordered = sorted(choices, key=lambda one: exact.get(one.point, first[one.point.once]))
    names = [one.point.variant for one in ordered]
    variant = running if running in names and not rounds else names[0]
    if rounds:
        return tuple(itertools.takewhile(lambda one: one.point.variant == variant, ordered))
    return tuple(one for one in ordered if one.point.variant == variant)


def _spaces(plan: SweepPlan, without: Collection[str]) -> list[dict[Cell, Point]]:
    """The points of each ISL/OSL by their cell."""
    spaces: dict[tuple[int, int], dict[Cell, Point]] = defaultdict(dict)
    for point in plan.points:
        if point.variant not in without:
            spaces[point.isl, point.osl][Cell(point.variant, point.load)] = point.once
    return list(spaces.values())


def _free(point: Point, done: Collection[Point]) -> Point:
    repeat = 1
    while replace(point, repeat=repeat) in done:
        repeat += 1
    return replace(point, repeat=repeat)


def _propose(plan: SweepPlan, points: dict[Cell, Point], trials: Sequence[Trial], budget: float | None) -> Batch | Stop:
    gpus = {variant.name: variant.gpus for variant in plan.variants}
    mine = [trial for trial in trials if trial.point.once in points.values()]
    spent = math.fsum(_gpu_minutes(trial, gpus) for trial in trials if trial.point.once not in points.values())
    left = Budget() if budget is None else Budget(gpu_minutes=max(0.0, budget - spent))
    ladders: dict[str, list[int]] = {}
    for cell in points:
        ladders.setdefault(cell.layout, []).append(cell.concurrency)
    space = Space(
        tuple(
            Ladder(name, gpus[name], tuple(sorted(steps)), _expected(name, gpus, trials))
            for name, steps in ladders.items()
        )
    )
    observations = [observe(trial, gpus[trial.variant]) for trial in mine]
    return _planner(plan, left).propose(space, observations)


def _planner(plan: SweepPlan, budget: Budget) -> Planner:
    slo = Slo(plan.slo) if plan.slo else None
    if plan.strategy == "grid":
        return Repeated(plan.repeats, budget)
    first: Planner = Climb(slo, budget=budget) if plan.strategy == "ladder" else Frontier(budget)
    if slo is None:
        return Stages((first, Confirm(plan.repeats, budget=budget)))
    search = SloSearch(slo, budget=budget)
    return Stages(
        (first, search, Confirm(plan.repeats, budget=budget), Confirm(plan.repeats, search=search, budget=budget))
    )


def observe(trial: Trial, gpus: int) -> Observation:
    """What a trial tells the planner. A limit that its metrics do not have counts as broken."""
    cell, metrics = Cell(trial.variant, trial.point.load), trial.metrics
    minutes = None if trial.duration_s is None else trial.duration_s * gpus / 60
    if metrics is None:
        return Observation(cell, ok=False, gpu_minutes=minutes)
    kinds = {"ttft": metrics.ttft_ms, "tpot": metrics.tpot_ms, "latency": metrics.request_latency_ms}
    return Observation(
        cell,
        tps_user=metrics.output_throughput_per_user_tok_s,
        tps_gpu=metrics.system_output_throughput_tok_s / gpus,
        latency={
            f"{kind}_{rank}_ms": getattr(stats, rank)
            for kind, stats in kinds.items()
            if stats is not None
            for rank in ("p50", "p99")
        },
        gpu_minutes=minutes,
    )


def _gpu_minutes(trial: Trial, gpus: dict[str, int]) -> float:
    return 0.0 if trial.duration_s is None else trial.duration_s * gpus[trial.variant] / 60


def _expected(name: str, gpus: dict[str, int], trials: Sequence[Trial]) -> float:
    """GPU-minutes of the variant's next trial: as its trials took on average, else as others did."""
    minutes = {trial.point: _gpu_minutes(trial, gpus) / gpus[trial.variant] for trial in trials}
    own = [value for point, value in minutes.items() if point.variant == name]
    return gpus[name] * fmean(own or minutes.values() or [0.0])
