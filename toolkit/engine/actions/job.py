"""What is carried out at once, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.engine.ranges import Range
from toolkit.numerics.fidelity import Report
from toolkit.plan.types import Action, ActionKind, ShardPlan

_SHARED = {"transcode", "cast"}


@dataclass(frozen=True, slots=True)
class Job:
    """Actions of one shard that one calculation serves: all outputs of a change of format, else a single action."""

    kind: ActionKind
    actions: tuple[Action, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.actions[0].inputs

    def output(self, suffix: str) -> str | None:
        """The output whose name ends so."""
        return next((str(action.output) for action in self.actions if str(action.output).endswith(suffix)), None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of ``output`` from its byte ``begin`` on: computed ones, or a range of a source file as it is.

    ``report`` says what a change of format lost in this part of the tensor; of the pieces of one part, one has it.
    """

    output: str
    begin: int
    data: NDArray[np.uint8] | Range
    report: Report | None = None


def jobs_of(shard: ShardPlan) -> Iterator[Job]:
    """A shard's actions in order; those that share kind and inputs come together where the first of them stands."""
    together: dict[object, list[Action]] = {}
    for number, action in enumerate(shard.actions):
        key = (action.kind, action.inputs) if action.kind in _SHARED else number
        together.setdefault(key, []).append(action)
    return (Job(actions[0].kind, tuple(actions)) for actions in together.values())


def as_bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The array's bytes in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
