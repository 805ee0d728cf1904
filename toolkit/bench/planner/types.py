"""What a planner is given and what it answers.

A planner is a function: the same space and the same observations, in whatever order, give the same answer. So a sweep
resumes by showing it what is recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from toolkit.errors import RecipeError


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One layout at one client concurrency (requests in flight)."""

    layout: str
    concurrency: int

    def __str__(self) -> str:
        return f"{self.layout} at concurrency {self.concurrency}"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The concurrencies, ascending, at which a layout on ``gpus`` GPUs fits into memory.

    ``gpu_minutes`` is what one trial is expected to cost, GPUs times minutes. Raises ``RecipeError`` for a ladder
    without concurrencies, one that does not ascend from 1 or more, fewer GPUs than 1 or a negative cost.
    """

    layout: str
    gpus: int
    concurrencies: tuple[int, ...]
    gpu_minutes: float = 0.0

    def __post_init__(self) -> None:
        steps = self.concurrencies
        if not steps or steps[0] < 1 or any(low >= high for low, high in pairwise(steps)):
            raise RecipeError("concurrencies must ascend from 1 or more", where=self.layout)
        if self.gpus < 1 or not 0 <= self.gpu_minutes < float("inf"):
            raise RecipeError("a layout needs a GPU and a cost that is not negative", where=self.layout)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(Cell(self.layout, concurrency) for concurrency in self.concurrencies)


@dataclass(frozen=True, slots=True)
class Space:
    """Every layout of one workload. Raises ``RecipeError`` if there is none or a name stands twice."""

    ladders: tuple[Ladder, ...]

    def __post_init__(self) -> None:
        names = Counter(ladder.layout for ladder in self.ladders)
        if not names:
            raise RecipeError("there is no layout to measure", where="bench")
        for name, count in names.items():
            if count > 1:
                raise RecipeError("the layout stands twice", where=name)

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(cell for ladder in self.ladders for cell in ladder.cells)


@dataclass(frozen=True, slots=True)
class Observation:
    """One recorded trial of a cell.

    ``tps_user`` is output tokens/s of one user, ``tps_gpu`` output tokens/s a GPU; None, NaN or a value that is not
    positive means that the trial gave none. ``latency`` holds what an SLO limits by name, such as ``ttft_ms``.
    ``gpu_minutes`` is what the trial cost; None takes the ladder's estimate.
    """

    cell: Cell
    ok: bool = True
    tps_user: float | None = None
    tps_gpu: float | None = None
    latency: Mapping[str, float] = field(default_factory=dict)
    gpu_minutes: float | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trial to run; ``repeat`` counts the trials of its cell from 1."""

    cell: Cell
    repeat: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Trials to run next, in this order; never empty."""

    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing more is worth a trial."""

    reason: str


class Planner(Protocol):
    def propose(self, space: Space, observations: Sequence[Observation]) -> Batch | Stop:
        """What to run next. Observations of cells outside ``space`` are not looked at."""
        ...


class Predictor(Protocol):
    """Values of cells before they are measured. They order trials and never replace or rule out one."""

    @property
    def provenance(self) -> str:
        """Where the values come from, for the reason of each trial that they moved."""
        ...

    def predict(self, cell: Cell) -> tuple[float, float] | None:
        """(tok/s/user, tok/s/GPU), or None where it knows nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """``trials`` limits how many cells are measured, ``gpu_minutes`` what all trials cost; None is no limit.

    Raises ``RecipeError`` for a limit that is negative or not a number.
    """

    trials: int | None = None
    gpu_minutes: float | None = None

    def __post_init__(self) -> None:
        for name, limit in (("trials", self.trials), ("gpu_minutes", self.gpu_minutes)):
            if limit is not None and not limit >= 0:
                raise RecipeError(f"the budget {name} must be 0 or more", where="bench")
