"""Joules of one GPU in a window of time, from its counter or from its power; pure functions.

Values at the window's ends are interpolated. A gap between readings of more than ``MOST_GAP_S`` makes a result
unusable; both are as InferenceX integrates power (utils/aggregate_power.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from toolkit.bench.telemetry.rows import GpuRow

MOST_GAP_S = 3.0
NS_PER_S = 1e9
Reading = tuple[int, float]
"""Time in nanoseconds, value."""


class Energy(BaseModel):
    """``joules`` are those of the counter, else those of the power; ``problem`` is why there are none.

    On an H100 (driver 580) both change every 0.1 s and agree within 0.4 % while the load is even. The power is the mean
    of about a second, so where the window begins with the load its integral lacks a third of a second at full power:
    2.5 % of 15 s.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    joules: float | None
    counter_j: float | None
    trapezoid_j: float | None
    problem: str | None


def energy(rows: Sequence[GpuRow], start_ns: int, end_ns: int) -> Energy:
    """Of one GPU's rows, in the order of time."""
    counter = clip([(row.time_ns, row.energy_mj / 1e3) for row in rows if row.energy_mj is not None], start_ns, end_ns)
    power = clip([(row.time_ns, row.power_mw / 1e3) for row in rows if row.power_mw is not None], start_ns, end_ns)
    counter_j = trapezoid_j = None
    problem = None
    if isinstance(power, str):
        problem = power
    else:
        trapezoid_j = round(trapezoid(power), 3)
    if isinstance(counter, str):
        problem = problem and counter
    elif any(later < earlier for (_, earlier), (_, later) in pairwise(counter)):
        problem = problem and "the energy counter went back"
    else:
        counter_j, problem = round(counter[-1][1] - counter[0][1], 3), None
    joules = trapezoid_j if counter_j is None else counter_j
    return Energy(joules=joules, counter_j=counter_j, trapezoid_j=trapezoid_j, problem=problem)


def trapezoid(readings: Sequence[Reading]) -> float:
    """∫ value dt over seconds."""
    return sum((b + a) / 2 * (u - t) / NS_PER_S for (t, a), (u, b) in pairwise(readings))


def clip(readings: Sequence[Reading], start_ns: int, end_ns: int) -> list[Reading] | str:
    """The readings from ``start_ns`` to ``end_ns`` with values interpolated at both; or why that cannot be said."""
    if not readings:
        return "no readings"
    if readings[0][0] > start_ns or readings[-1][0] < end_ns:
        return "the readings do not cover the whole trial"
    inside = [reading for reading in readings if start_ns < reading[0] < end_ns]
    around = [*(r for r in readings if r[0] <= start_ns)][-1:] + inside + [r for r in readings if r[0] >= end_ns][:1]
    gap = max((later[0] - earlier[0] for earlier, later in pairwise(around)), default=0) / NS_PER_S
    if gap > MOST_GAP_S:
        return f"no reading for {gap:.1f} s"
    return [(start_ns, _at(around[:2], start_ns)), *inside, (end_ns, _at(around[-2:], end_ns))]


def _at(readings: Sequence[Reading], time_ns: int) -> float:
    """The value at ``time_ns`` on the line through the first and the last reading."""
    (t, a), (u, b) = readings[0], readings[-1]
    return a if u == t else a + (b - a) * (time_ns - t) / (u - t)
