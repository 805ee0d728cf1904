"""The default planner: measure where the trade-off could still move, then where a curve is least known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from toolkit.bench.planner.curves import Estimate, at_best, estimate
from toolkit.bench.planner.measured import Measured, read
from toolkit.bench.planner.pareto import front, gain, hypervolume
from toolkit.bench.planner.types import Batch, Budget, Cell, Observation, Predictor, Proposal, Space, Stop


@dataclass(frozen=True, slots=True)
class Frontier:
    """The highest concurrency of each layout, then one trial at a time.

    A trial is worth its time while the rates that its cell reaches at best (``optimism`` standard deviations above the
    expected ones) would enlarge the front's hypervolume by ``least_gain`` or more; then while a curve is not known to
    ``tolerance`` (a standard deviation, relative). The first of the two leaves a layout alone that cannot reach the
    front even at best. Without ``budget.trials`` at most half of the cells and one more are measured.
    ``predictor`` orders the first trials.
    """

    budget: Budget = field(default_factory=Budget)
    least_gain: float = 0.005
    tolerance: float = 0.02
    optimism: float = 1.5
    predictor: Predictor | None = None

    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        measured = read(space, observations)
        budget = self.budget
        if budget.trials is None:
            budget = replace(budget, trials=len(space.cells) // 2 + 1)
        candidates = sorted(measured.open(), key=lambda cell: _rank(space, cell))
        affordable = [cell for cell in candidates if measured.affordable([cell], budget)]
        if not affordable:
            return Stop("frontier: the budget is spent" if candidates else "frontier: every point is measured")
        start = measured.affordable(self._start(space, candidates), budget)
        if start:
            return Batch(tuple(Proposal(cell, 1, self._start_reason()) for cell in start))
        if not measured.rates:
            cells = measured.affordable(_one_a_layout(affordable), budget)
            return Batch(tuple(Proposal(cell, 1, "frontier: no trial gave values yet") for cell in cells))
        return self._refine(measured, affordable)

    def _start(self, space: Space, candidates: Sequence[Cell]) -> list[Cell]:
        """The largest concurrency of each layout: there its tok/s/GPU ends, and memory if it is too short."""
        tops = {ladder.cells[-1] for ladder in space.ladders}
        return sorted((cell for cell in candidates if cell in tops), key=self._predicted)

    def _predicted(self, cell: Cell) -> float:
        """Ascending: the largest predicted area first, the unknown last."""
        rates = None if self.predictor is None else self.predictor.predict(cell)
        return 0.0 if rates is None else -hypervolume([rates])

    def _start_reason(self) -> str:
        ordered = "" if self.predictor is None else f"; ordered by {self.predictor.provenance}"
        return f"frontier: the layout's highest concurrency, where its tok/s/GPU ends{ordered}"

    def _refine(self, measured: Measured, cells: Sequence[Cell]) -> Batch | Stop:
        guesses = dict(zip(cells, estimate(measured, cells), strict=True))
        kept = front(measured.rates.values())
        gains = {cell: gain(kept, at_best(measured, cell, guesses[cell], self.optimism)) for cell in cells}
        cell = max(cells, key=gains.__getitem__)
        if gains[cell] >= self.least_gain:
            return _one(cell, f"could enlarge the front by {gains[cell]:.1%}: expected {_words(guesses[cell])}")
        cell = max(cells, key=lambda one: guesses[one].deviation)
        if guesses[cell].deviation >= self.tolerance:
            return _one(cell, f"the least known point of the curves: expected {_words(guesses[cell])}")
        return Stop(
            f"frontier: no point could enlarge the front by {self.least_gain:.1%}, "
            f"and every curve is known to {self.tolerance:.1%}"
        )


def _one(cell: Cell, reason: str) -> Batch:
    return Batch((Proposal(cell, 1, f"frontier: {reason}"),))


def _words(guess: Estimate) -> str:
    return f"{guess.tps_gpu:.4g} tok/s/GPU at {guess.tps_user:.4g} tok/s/user, ±{guess.deviation:.1%}"


def _one_a_layout(cells: Sequence[Cell]) -> list[Cell]:
    return list({cell.layout: cell for cell in cells}.values())


def _rank(space: Space, cell: Cell) -> tuple[object, ...]:
    """Between equals what is cheaper comes first, and names decide last."""
    ladder = next(ladder for ladder in space.ladders if ladder.layout == cell.layout)
    return ladder.gpus, ladder.concurrencies, cell.concurrency, cell.layout
