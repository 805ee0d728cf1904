"""Repeats of one cell under one condition, with far values pulled in.

A run that something else disturbed lies far from its siblings. It is not dropped, but moved to ``FAR`` robust standard
deviations from the median of its arm, and no longer counted where the size of the sample matters: winsorised means, and
Yuen's variance for them (Biometrika 61, 1974). Two repeats cannot say which of them is off, so from three on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAR = 3.0
TO_SIGMA = 0.6745  # median of abs(z) of the normal distribution
OWN_SHARE = 0.8  # of a cell's scale², the rest is the median cell's: few values agree by chance, too

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Arm:
    """``values`` are logarithms, of which ``counted`` were not pulled in."""

    values: tuple[float, ...]
    counted: int

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def squares(self) -> float:
        """Sum of squares around the mean."""
        return float(np.var(self.values)) * len(self.values)

    @property
    def clipped(self) -> int:
        return len(self.values) - self.counted


def usable(values: Iterable[float]) -> tuple[float, ...]:
    """Those that have a logarithm: finite and above 0."""
    return tuple(value for value in values if math.isfinite(value) and value > 0)


def logarithms(values: Iterable[float]) -> tuple[float, ...]:
    """Of the usable values."""
    return tuple(map(math.log, usable(values)))


def plain(values: Sequence[float]) -> Arm:
    """Every value as it is."""
    return Arm(tuple(values), len(values))


def clip(cells: Sequence[Sequence[Sequence[float]]]) -> tuple[tuple[Arm, ...], ...]:
    """The arms of each cell; fewer than half of an arm's values are pulled in."""
    scales = [_scale(arms) for arms in cells]
    known = [scale for scale in scales if scale is not None]
    usual = float(np.median(known)) if known else 0.0
    return tuple(
        tuple(_clip(values, _bound(scale, usual)) for values in arms) for arms, scale in zip(cells, scales, strict=True)
    )


def _scale(arms: Sequence[Sequence[float]]) -> float | None:
    """A standard deviation from the lower median of the distances to each arm's median.

    The one distance that is 0 by construction, where a median is one of the values, is left out.
    """
    distances: list[float] = []
    for values in arms:
        if len(values) > 2:
            distances += sorted(np.abs(np.asarray(values) - np.median(values)))[len(values) % 2 :]
    return float(sorted(distances)[(len(distances) - 1) // 2]) / TO_SIGMA if distances else None


def _bound(scale: float | None, usual: float) -> float:
    return 0.0 if scale is None else FAR * float(np.sqrt(OWN_SHARE * scale**2 + (1 - OWN_SHARE) * usual**2))


def _clip(values: Sequence[float], bound: float) -> Arm:
    if len(values) < 3 or bound == 0:
        return plain(values)
    array: Array = np.asarray(values, dtype=np.float64)
    centre = np.median(array)
    distances = np.abs(array - centre)
    bound = max(bound, float(np.sort(distances)[len(values) // 2]))
    far = distances > bound
    return Arm(
        tuple(map(float, np.where(far, centre + np.clip(array - centre, -bound, bound), array))), int((~far).sum())
    )
