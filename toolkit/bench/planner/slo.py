"""The highest concurrency of each layout that keeps a service level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from toolkit.bench.planner.measured import Measured, read
from toolkit.bench.planner.types import Batch, Budget, Cell, Ladder, Observation, Proposal, Space, Stop
from toolkit.errors import RecipeError

CLIFF = 2.0  # from inside the limit to twice it in one step: too steep to trust one verdict
NEAR = 0.1


@dataclass(frozen=True, slots=True)
class Slo:
    """Upper limits by name, in the units of ``Observation.latency``. Raises ``RecipeError`` without a positive one."""

    limits: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.limits or not all(0 < limit < math.inf for limit in self.limits.values()):
            raise RecipeError("an SLO needs limits above 0", where="bench.slo")

    def load(self, trial: Observation) -> float:
        """The largest share of a limit that a trial used: at most 1 keeps the SLO. A failed trial, or one that does
        not say what is limited, used all there is."""
        if not trial.ok:
            return math.inf
        shares = [trial.latency.get(name, math.nan) / limit for name, limit in self.limits.items()]
        return max(shares) if all(math.isfinite(share) for share in shares) else math.inf

    def met(self, trials: Sequence[Observation]) -> bool:
        """The verdict of a cell's trials: most of them keep it."""
        return 2 * sum(self.load(trial) <= 1 for trial in trials) > len(trials)


@dataclass(frozen=True, slots=True)
class SloSearch:
    """Doubling until the SLO breaks, then bisection, for all layouts side by side.

    The search ends at neighbouring cells, or at cells less than ``precision`` apart. The last cell that keeps the SLO
    is tried again while its verdict is near the limit (within a tenth) and its trials lead by fewer than two; next to
    a cliff, a step from inside the limit to twice it, by fewer than three. No cell gets more than ``most_trials``.
    """

    slo: Slo
    precision: float = 0.05
    most_trials: int = 5
    budget: Budget = field(default_factory=Budget)

    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        measured = read(space, observations)
        wanted = [one for ladder in space.ladders if (one := self._next(ladder, measured)) is not None]
        chosen = set(measured.affordable([one.cell for one in wanted], self.budget))
        if chosen:
            return Batch(tuple(one for one in wanted if one.cell in chosen))
        return Stop("SLO: the budget is spent" if wanted else "SLO: " + self._words(measured))

    def winners(self, measured: Measured) -> tuple[Cell, ...]:
        """The highest cell of each layout that keeps the SLO, where one does."""
        found = (self._bracket(ladder, measured)[0] for ladder in measured.space.ladders)
        return tuple(cell for cell in found if cell is not None)

    def _bracket(self, ladder: Ladder, measured: Measured) -> tuple[Cell | None, Cell | None]:
        """The highest cell that keeps the SLO below the lowest one that breaks it, and that one."""
        keeps: Cell | None = None
        for cell in ladder.cells:
            if cell in measured.trials:
                if not self.slo.met(measured.trials[cell]):
                    return keeps, cell
                keeps = cell
        return keeps, None

    def _next(self, ladder: Ladder, measured: Measured) -> Proposal | None:
        keeps, breaks = self._bracket(ladder, measured)
        low = 0 if keeps is None else keeps.concurrency
        high = math.inf if breaks is None else breaks.concurrency
        between = [cell for cell in ladder.cells if low < cell.concurrency < high]
        if breaks is None and between:
            double = [cell for cell in between if cell.concurrency <= 2 * low] or between[:1]
            return Proposal(double[-1], 1, f"SLO: doubling from {low}")
        if between and high > low * (1 + self.precision):
            middle = min(between, key=lambda cell: abs(cell.concurrency - _middle(low, high)))
            return Proposal(middle, 1, f"SLO: kept at {low}, broken at {high:.0f}")
        if keeps is None:
            return None
        return self._again(keeps, breaks, measured)

    def _again(self, keeps: Cell, breaks: Cell | None, measured: Measured) -> Proposal | None:
        trials = measured.trials[keeps]
        loads = [self.slo.load(trial) for trial in trials]
        lead = sum(1 if load <= 1 else -1 for load in loads)
        cliff = breaks is not None and self._is_cliff(measured, keeps, breaks)
        needed = 3 if cliff else 2 if median(loads) > 1 - NEAR or len({load <= 1 for load in loads}) > 1 else 1
        if lead >= needed or len(trials) >= self.most_trials:
            return None
        why = "next to a cliff" if cliff else "near the limit"
        return Proposal(keeps, len(trials) + 1, f"SLO: the verdict once more, {why}")

    def _is_cliff(self, measured: Measured, keeps: Cell, breaks: Cell) -> bool:
        before, after = (median(map(self.slo.load, measured.trials[cell])) for cell in (keeps, breaks))
        return before <= 1 and after >= CLIFF

    def _words(self, measured: Measured) -> str:
        return "; ".join(self._word(ladder, measured) for ladder in measured.space.ladders)

    def _word(self, ladder: Ladder, measured: Measured) -> str:
        keeps, breaks = self._bracket(ladder, measured)
        if keeps is None:
            return f"{ladder.layout} keeps it nowhere"
        if breaks is None:
            return f"{ladder.layout} keeps it up to {keeps.concurrency}, the end"
        cliff = ", a cliff" if self._is_cliff(measured, keeps, breaks) else ""
        return f"{ladder.layout} keeps it up to {keeps.concurrency}, not at {breaks.concurrency}{cliff}"


def _middle(low: float, high: float) -> float:
    return math.sqrt(max(low, 1) * high)
