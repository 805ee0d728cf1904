"""Planners one after the other, and the repeats of what won."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.bench.planner.measured import Measured, read
from toolkit.bench.planner.pareto import front
from toolkit.bench.planner.slo import SloSearch
from toolkit.bench.planner.types import Batch, Budget, Cell, Observation, Planner, Proposal, Space, Stop


@dataclass(frozen=True, slots=True)
class Confirm:
    """``repeats`` trials of each cell on the front or, with ``search``, of each that wins the SLO search.

    A repeat can move the front; what is new on it is repeated, too.
    """

    repeats: int = 3
    search: SloSearch | None = None
    budget: Budget = field(default_factory=Budget)

    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        measured = read(space, observations)
        missing = [cell for cell in self._winners(measured) if len(measured.trials[cell]) < self.repeats]
        chosen = measured.affordable(missing, self.budget)
        if chosen:
            return Batch(tuple(self._again(measured, cell) for cell in chosen))
        return Stop("repeats: the budget is spent" if missing else f"repeats: every winner has {self.repeats} trials")

    def _winners(self, measured: Measured) -> tuple[Cell, ...]:
        if self.search is not None:
            return self.search.winners(measured)
        best = set(front(measured.rates.values()))
        return tuple(cell for cell, rate in measured.rates.items() if rate in best)

    def _again(self, measured: Measured, cell: Cell) -> Proposal:
        repeat = len(measured.trials[cell]) + 1
        where = "on the front" if self.search is None else "an SLO winner"
        return Proposal(cell, repeat, f"repeats: {where}, trial {repeat} of {self.repeats}")


@dataclass(frozen=True, slots=True)
class Stages:
    """The first of ``planners`` that does not stop; when all have stopped, all their reasons."""

    planners: tuple[Planner, ...]

    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        reasons = []
        for planner in self.planners:
            answer = planner.propose(space, observations)
            if isinstance(answer, Batch):
                return answer
            reasons.append(answer.reason)
        return Stop("; ".join(reasons))
