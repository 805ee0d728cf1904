"""The curves of all layouts at once, from the cells measured so far.

A Gaussian process (Rasmussen & Williams 2006, eq. 2.25 and 2.26) over log2 concurrency, log2 GPUs and the layout. It
predicts the logarithms of two rates: tokens/s of one user, and of the whole server divided by its concurrency. Both
fall slowly with concurrency, along curves that are smooth in logarithms and resemble each other between layouts; the
kernel says just that: what all layouts share (level, slope, bend, effect of the GPU count) plus what is a layout's own
(level, slope, bend). Its scales are fixed, in units of log rate; docs/decisions/0008 shows how little they matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bench.planner.measured import Measured
from toolkit.bench.planner.types import Cell, Ladder

Array = NDArray[np.float64]

LEVEL, SLOPE, BEND, BEND_OCTAVES, PER_DOUBLING = 1.0, 0.3, 0.4, 5.0, 0.5
OWN_LEVEL, OWN_SLOPE, OWN_BEND, OWN_BEND_OCTAVES = 0.4, 0.1, 0.1, 2.5
NOISE = 0.02
SLACK = 1.02  # more load makes no user faster, but for noise


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected rates of a cell, and the standard deviation of their logarithms."""

    tps_user: float
    tps_gpu: float
    deviation: float


def estimate(measured: Measured, cells: Sequence[Cell]) -> list[Estimate]:
    """What the measured rates, of which there is at least one, say about ``cells``; those past a peak say nothing."""
    ladders = {ladder.layout: ladder for ladder in measured.space.ladders}
    before = [cell for cell in measured.rates if cell not in measured.past_peak]
    known = sorted(before, key=lambda cell: _by_content(ladders[cell.layout], cell, measured))
    logs = np.array([_log_rates(ladders[cell.layout].gpus, cell, measured.rates[cell]) for cell in known])
    rows, queries = _features(ladders, known), _features(ladders, cells)
    # centred on the observed cells, so that units of concurrency and GPUs do not matter
    centre = rows[:, :2].mean(axis=0)
    rows[:, :2] -= centre
    queries[:, :2] -= centre
    mean = logs.mean(axis=0)
    covariance = _kernel(rows, rows) + NOISE**2 * np.eye(len(known))
    cross = _kernel(queries, rows)
    weights = np.linalg.solve(covariance, cross.T)
    expected = mean + weights.T @ (logs - mean)
    variance = _own_variance(queries) - np.einsum("ij,ji->i", cross, weights)
    deviations = np.sqrt(np.maximum(variance, 0.0))
    return [
        Estimate(math.exp(user), math.exp(server) * cell.concurrency / ladders[cell.layout].gpus, float(deviation))
        for cell, (user, server), deviation in zip(cells, expected, deviations, strict=True)
    ]


def at_best(measured: Measured, cell: Cell, guess: Estimate, deviations: float) -> tuple[float, float]:
    """Rates that ``cell`` may reach: ``deviations`` above the expected ones, but no faster than under less load."""
    lift = math.exp(deviations * guess.deviation)
    user, gpu = guess.tps_user * lift, guess.tps_gpu * lift
    for other, (other_user, other_gpu) in measured.rates.items():
        if other.layout == cell.layout and other.concurrency < cell.concurrency:
            user = min(user, SLACK * other_user)
            gpu = min(gpu, SLACK * other_gpu * cell.concurrency / other.concurrency)
    return user, gpu


def _by_content(ladder: Ladder, cell: Cell, measured: Measured) -> tuple[object, ...]:
    """Not by name first: sums must not depend on what layouts are called."""
    return ladder.gpus, cell.concurrency, measured.rates[cell], ladder.concurrencies, cell.layout


def _log_rates(gpus: int, cell: Cell, rates: tuple[float, float]) -> tuple[float, float]:
    user, gpu = rates
    return math.log(user), math.log(gpu * gpus / cell.concurrency)


def _features(ladders: dict[str, Ladder], cells: Sequence[Cell]) -> Array:
    """(cells, 3): log2 concurrency, log2 GPUs, number of the layout."""
    number = {layout: index for index, layout in enumerate(ladders)}
    return np.array(
        [(math.log2(cell.concurrency), math.log2(ladders[cell.layout].gpus), number[cell.layout]) for cell in cells]
    ).reshape(-1, 3)


def _kernel(left: Array, right: Array) -> Array:
    """(left, right) covariances of log rates."""
    octaves = np.subtract.outer(left[:, 0], right[:, 0])
    slopes = np.multiply.outer(left[:, 0], right[:, 0])
    sizes = np.multiply.outer(left[:, 1], right[:, 1])
    same = np.equal.outer(left[:, 2], right[:, 2])
    shared = LEVEL**2 + SLOPE**2 * slopes + BEND**2 * _bell(octaves, BEND_OCTAVES) + PER_DOUBLING**2 * sizes
    own = OWN_LEVEL**2 + OWN_SLOPE**2 * slopes + OWN_BEND**2 * _bell(octaves, OWN_BEND_OCTAVES)
    kernel: Array = shared + same * own
    return kernel


def _own_variance(rows: Array) -> Array:
    """The diagonal of ``_kernel(rows, rows)``."""
    fixed = LEVEL**2 + BEND**2 + OWN_LEVEL**2 + OWN_BEND**2
    variance: Array = fixed + (SLOPE**2 + OWN_SLOPE**2) * rows[:, 0] ** 2 + PER_DOUBLING**2 * rows[:, 1] ** 2
    return variance


def _bell(octaves: Array, width: float) -> Array:
    bell: Array = np.exp(-0.5 * (octaves / width) ** 2)
    return bell
