"""The trade-off between one user's speed and a GPU's throughput; both are to be large."""

from __future__ import annotations

from collections.abc import Iterable

from toolkit.bench.planner.measured import Rate


def front(rates: Iterable[Rate]) -> list[Rate]:
    """The rates that no other matches or beats in both, by falling tok/s/user; equal ones once."""
    best: list[Rate] = []
    for user, gpu in sorted(rates, key=lambda rate: (-rate[0], -rate[1])):
        if not best or gpu > best[-1][1]:
            best.append((user, gpu))
    return best


def hypervolume(rates: Iterable[Rate]) -> float:
    """Area that the rates dominate, from (0, 0): tok/s/user times tok/s/GPU."""
    area, below = 0.0, 0.0
    for user, gpu in front(rates):
        area += user * (gpu - below)
        below = gpu
    return area


def gain(rates: Iterable[Rate], other: Rate) -> float:
    """By which share ``other`` would enlarge the hypervolume of ``rates``, which is not empty."""
    kept = front(rates)
    return hypervolume([*kept, other]) / hypervolume(kept) - 1
