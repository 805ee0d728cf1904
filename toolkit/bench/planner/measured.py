"""What the observations say about a space."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from toolkit.bench.planner.types import Budget, Cell, Ladder, Observation, Space

Rate = tuple[float, float]  # tok/s/user, tok/s/GPU

PAST_PEAK = 0.8


@dataclass(frozen=True, slots=True)
class Measured:
    """``trials`` of each cell that has any, ``rates`` of those that gave both values (medians of the repeats).

    ``failed`` cells have trials, none of which was ok. Cells ``past_peak`` give less than 0.8 of the tok/s/GPU that
    their layout gave with fewer users: the layout has thrashed, and its curve up to there says nothing about them.
    ``gpu_minutes`` is the cost of all trials.
    """

    space: Space
    trials: Mapping[Cell, tuple[Observation, ...]]
    rates: Mapping[Cell, Rate]
    failed: frozenset[Cell]
    past_peak: frozenset[Cell]
    gpu_minutes: float

    def open(self) -> tuple[Cell, ...]:
        """Cells without a trial that may still run.

        Memory and load grow with concurrency, so nothing is tried above a failure that no larger success contradicts.
        Between that failure and the largest success, and likewise between a cell past the peak and the next one before
        it, only the middle cell is: a bisection.
        """
        return tuple(cell for ladder in self.space.ladders for cell in self._open(ladder))

    def _open(self, ladder: Ladder) -> list[Cell]:
        todo: list[Cell] = []
        gap: list[Cell] = []
        works = max((cell for cell in ladder.cells if cell in self.trials and cell not in self.failed), default=None)
        for cell in ladder.cells:
            if cell not in self.trials:
                gap.append(cell)
                continue
            closes = cell in self.failed and (works is None or works < cell)
            todo += gap[len(gap) // 2 :][:1] if closes or cell in self.past_peak else gap
            gap = []
            if closes:
                return todo
        return todo + gap

    def affordable(self, cells: Sequence[Cell], budget: Budget) -> list[Cell]:
        """Those of ``cells``, in their order, that the budget pays for together."""
        cost = {ladder.layout: ladder.gpu_minutes for ladder in self.space.ladders}
        new, minutes = 0, [self.gpu_minutes]
        chosen: list[Cell] = []
        for cell in cells:
            adds = cell not in self.trials
            if budget.trials is not None and len(self.trials) + new + adds > budget.trials and adds:
                continue
            if budget.gpu_minutes is not None and math.fsum([*minutes, cost[cell.layout]]) > budget.gpu_minutes:
                continue
            chosen.append(cell)
            minutes.append(cost[cell.layout])
            new += adds
        return chosen


def read(space: Space, observations: Sequence[Observation]) -> Measured:
    """The observations of the space's cells, whatever their order."""
    known = {cell: ladder for ladder in space.ladders for cell in ladder.cells}
    trials: dict[Cell, list[Observation]] = defaultdict(list)
    for one in observations:
        if one.cell in known:
            trials[one.cell].append(one)
    rates = {cell: rate for cell in known if (rate := _rate(trials.get(cell, []))) is not None}
    return Measured(
        space=space,
        trials={cell: tuple(trials[cell]) for cell in known if cell in trials},
        rates=rates,
        failed=frozenset(cell for cell, several in trials.items() if not any(one.ok for one in several)),
        past_peak=frozenset(cell for ladder in space.ladders for cell in _past_peak(ladder, rates)),
        gpu_minutes=math.fsum(
            known[cell].gpu_minutes if one.gpu_minutes is None else one.gpu_minutes
            for cell, several in trials.items()
            for one in several
        ),
    )


def _past_peak(ladder: Ladder, rates: Mapping[Cell, Rate]) -> list[Cell]:
    found, peak = [], 0.0
    for cell in ladder.cells:
        if cell in rates:
            if rates[cell][1] < PAST_PEAK * peak:
                found.append(cell)
            peak = max(peak, rates[cell][1])
    return found


def _rate(observations: Sequence[Observation]) -> Rate | None:
    pairs = [
        (one.tps_user, one.tps_gpu) for one in observations if one.ok and _usable(one.tps_user) and _usable(one.tps_gpu)
    ]
    if not pairs:
        return None
    return median(user or 0.0 for user, _ in pairs), median(gpu or 0.0 for _, gpu in pairs)


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0
