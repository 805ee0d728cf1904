"""The two planners that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.bench.planner.measured import Measured, read
from toolkit.bench.planner.slo import Slo
from toolkit.bench.planner.types import Batch, Budget, Cell, Ladder, Observation, Proposal, Space, Stop


@dataclass(frozen=True, slots=True)
class Grid:
    """Every cell once."""

    budget: Budget = field(default_factory=Budget)

    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        measured = read(space, observations)
        todo = [cell for cell in space.cells if cell not in measured.trials]
        chosen = measured.affordable(todo, self.budget)
        if chosen:
            return Batch(tuple(Proposal(cell, 1, "grid: every point is measured") for cell in chosen))
        return Stop("grid: the budget is spent" if todo else "grid: every point is measured")


@dataclass(frozen=True, slots=True)
class Climb:
    """``ladder``: each layout from its lowest concurrency up, until a trial fails, the SLO is broken or tok/s/GPU
    rises by less than ``stall`` from one step to the next."""

    slo: Slo | None = None
    stall: float = 0.02
    budget: Budget = field(default_factory=Budget)

    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        measured = read(space, observations)
        todo = [cell for ladder in space.ladders if (cell := self._next(ladder, measured)) is not None]
        chosen = measured.affordable(todo, self.budget)
        if chosen:
            return Batch(tuple(Proposal(cell, 1, f"ladder: the next step of {cell.layout}") for cell in chosen))
        return Stop("ladder: the budget is spent" if todo else "ladder: every layout has reached its end")

    def _next(self, ladder: Ladder, measured: Measured) -> Cell | None:
        best = 0.0
        for cell in ladder.cells:
            if cell not in measured.trials:
                return cell
            if cell in measured.failed or (self.slo is not None and not self.slo.met(measured.trials[cell])):
                return None
            if cell in measured.rates:
                gpu = measured.rates[cell][1]
                if gpu < best * (1 + self.stall):
                    return None
                best = gpu
        return None
