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
    """Actions of one shard that one calculation serves: codes and scales of a change of format, else a single one."""

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
    """A shard's work in the order of its file: outputs of one job come together, where the first of them is planned.

    The largest goes first, for it is written as it is computed while the others wait. It has whole rows of codes, a
    multiple of 8 bytes, so nothing loses its alignment. A global scale, which is known before, is a job of its own.
    """
    together: dict[object, list[Action]] = {}
    for number, action in enumerate(shard.actions):
        shared = action.kind in _SHARED and action.dtype != "F32"
        together.setdefault((action.kind, action.inputs) if shared else number, []).append(action)
    for actions in together.values():
        yield Job(actions[0].kind, tuple(sorted(actions, key=lambda action: -action.nbytes)))


def as_bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The array's bytes in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
