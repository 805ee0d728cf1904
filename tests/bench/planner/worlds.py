"""Made-up grids whose values are known, and the loop that runs a planner on one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from toolkit.bench.planner.types import Batch, Cell, Ladder, Observation, Planner, Proposal, Space, Stop

Rates = Mapping[Cell, tuple[float, float]]
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def space(**layouts: tuple[int, Sequence[int]]) -> Space:
    """Layouts by name: GPUs and concurrencies."""
    return Space(tuple(Ladder(name, gpus, tuple(steps)) for name, (gpus, steps) in layouts.items()))


def rates(space: Space, tpot: Callable[[Ladder, int], float]) -> dict[Cell, tuple[float, float]]:
    """tok/s/user and tok/s/GPU from seconds a token, without a TTFT."""
    return {
        Cell(ladder.layout, users): (1 / tpot(ladder, users), users / tpot(ladder, users) / ladder.gpus)
        for ladder in space.ladders
        for users in ladder.concurrencies
    }


def usual(ladder: Ladder, users: int) -> float:
    """Weights are shared by the GPUs, each user adds, and more GPUs cost communication."""
    return 0.002 + 0.004 / ladder.gpus + 0.0001 * users / math.sqrt(ladder.gpus)


def observe(cell: Cell, rates: Rates) -> Observation:
    user, gpu = rates[cell]
    return Observation(cell, tps_user=user, tps_gpu=gpu)


def run(
    planner: Planner, space: Space, trial: Callable[[Proposal], Observation], most: int = 500
) -> tuple[list[Proposal], list[Observation], Stop]:
    """Proposals, observations and the last word; fails if a trial stands twice, is outside or the end never comes."""
    proposals: list[Proposal] = []
    seen: list[Observation] = []
    while isinstance(answer := planner.propose(space, seen), Batch):
        assert answer.proposals
        assert all(one.reason for one in answer.proposals)
        proposals += answer.proposals
        assert len({(one.cell, one.repeat) for one in proposals}) == len(proposals) <= most
        assert {one.cell for one in proposals} <= set(space.cells)
        seen += map(trial, answer.proposals)
    return proposals, seen, answer
