"""``TelemetrySummary``: what a trial's record keeps of its readings. Pure; the same rows give the same summary."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolkit.bench.telemetry.energy import NS_PER_S, Energy, clip, energy
from toolkit.bench.telemetry.rows import GpuRow, HostRow, Row, gpu_indices, of_gpu, of_host

BUSY_PCT = 50
"""From this utilisation on a clock is one under load."""

REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""NVML's bits (nvml.h, nvmlClocksEventReason*)."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Part):
    minimum: float
    mean: float
    maximum: float


class GpuTelemetry(_Part):
    """Of one GPU during the measured window. Watts, °C, MHz, %, MiB; None where the driver does not say.

    ``reasons``: share of readings with each of NVML's reasons for lower clocks. ``loaded_sm_mhz``: median SM clock
    under load in the first and in the second half of the window. ``foreign`` and ``unseen``: most compute processes at
    once that are not of the benchmark, or of another PID namespace.
    """

    index: int
    power_w: Range | None
    temperature_c: Range | None
    sm_mhz: Range | None
    memory_mhz: Range | None
    busy_pct: Range | None
    used_mib: Range | None
    reasons: dict[str, float] | None
    loaded_sm_mhz: tuple[float, float] | None
    foreign: int | None
    unseen: int | None
    energy: Energy


class HostTelemetry(_Part):
    """``busy_cores``: mean number of cores at work, ``own_cores`` of them for the benchmark and its servers.

    ``other_cores`` are the rest and what the hypervisor took. ``clock_step_s``: by how much the time of day moved
    against the monotonic clock, the largest such step with its sign.
    """

    cores: int
    load_average_1m: Range | None
    mhz: Range | None
    busy_cores: float | None
    own_cores: float | None
    other_cores: float | None
    clock_step_s: float


class TelemetrySummary(_Part):
    """``energy_j`` is the sum over the GPUs, None if that of any is not known; ``readings`` those in the window."""

    schema_version: Literal[1] = 1
    period_s: float
    readings: int
    problem: str | None
    host: HostTelemetry | None
    gpus: tuple[GpuTelemetry, ...]
    energy_j: float | None


def summarise(
    rows: Sequence[Row],
    start_ns: int,
    end_ns: int,
    *,
    period_s: float,
    problem: str | None = None,
    cores: int | None = None,
) -> TelemetrySummary:
    """The rows of a ``Recording`` between two times of ``time.monotonic_ns``; all of them where none is in between.

    ``cores`` are those of the host, this one's by default.
    """
    gpus = tuple(_gpu(of_gpu(rows, index), start_ns, end_ns) for index in gpu_indices(rows))
    host = of_host(rows)
    joules = [gpu.energy.joules for gpu in gpus]
    known = [value for value in joules if value is not None]
    return TelemetrySummary(
        period_s=period_s,
        readings=sum(start_ns <= row.time_ns <= end_ns for row in host),
        problem=problem,
        host=_host(host, start_ns, end_ns, cores or os.cpu_count() or 1) if host else None,
        gpus=gpus,
        energy_j=round(math.fsum(known), 3) if gpus and len(known) == len(joules) else None,
    )


def _gpu(rows: Sequence[GpuRow], start_ns: int, end_ns: int) -> GpuTelemetry:
    inside = [row for row in rows if start_ns <= row.time_ns <= end_ns] or rows
    reasons = [row.reasons for row in inside if row.reasons is not None]
    return GpuTelemetry(
        index=rows[0].index,
        power_w=_range(None if row.power_mw is None else row.power_mw / 1e3 for row in inside),
        temperature_c=_range(row.temperature_c for row in inside),
        sm_mhz=_range(row.sm_mhz for row in inside),
        memory_mhz=_range(row.memory_mhz for row in inside),
        busy_pct=_range(row.busy_pct for row in inside),
        used_mib=_range(row.used_mib for row in inside),
        reasons=_shares(reasons) if reasons else None,
        loaded_sm_mhz=_halves(inside, (start_ns + end_ns) // 2),
        foreign=max((row.foreign for row in inside if row.foreign is not None), default=None),
        unseen=max((row.unseen for row in inside if row.unseen is not None), default=None),
        energy=energy(rows, start_ns, end_ns),
    )


def _shares(reasons: Sequence[int]) -> dict[str, float]:
    counts = {name: sum(bool(bits & bit) for bits in reasons) for bit, name in REASONS.items()}
    return {name: round(count / len(reasons), 4) for name, count in counts.items() if count}


def _halves(rows: Sequence[GpuRow], middle_ns: int) -> tuple[float, float] | None:
    loaded = [(row.time_ns, row.sm_mhz) for row in rows if row.sm_mhz is not None and (row.busy_pct or 0) >= BUSY_PCT]
    first = [mhz for time_ns, mhz in loaded if time_ns < middle_ns]
    second = [mhz for time_ns, mhz in loaded if time_ns >= middle_ns]
    return (float(median(first)), float(median(second))) if first and second else None


def _host(rows: Sequence[HostRow], start_ns: int, end_ns: int, cores: int) -> HostTelemetry:
    inside = [row for row in rows if start_ns <= row.time_ns <= end_ns] or rows
    busy = _cores([(row.time_ns, row.busy_ms) for row in rows if row.busy_ms is not None], start_ns, end_ns)
    stolen = _cores([(row.time_ns, row.stolen_ms) for row in rows if row.stolen_ms is not None], start_ns, end_ns)
    own = _cores([(row.time_ns, row.own_ms) for row in rows if row.own_ms is not None], start_ns, end_ns)
    known = busy is not None and own is not None
    return HostTelemetry(
        cores=cores,
        load_average_1m=_range(None if row.load_centi is None else row.load_centi / 100 for row in inside),
        mhz=_range(row.mhz for row in inside),
        busy_cores=busy,
        own_cores=own,
        other_cores=round(max(0.0, (busy or 0) - (own or 0)) + (stolen or 0), 3) if known else None,
        clock_step_s=_step(rows),
    )


def _cores(counter_ms: Sequence[tuple[int, float]], start_ns: int, end_ns: int) -> float | None:
    """Mean growth of a counter of milliseconds, in seconds a second."""
    found = clip(counter_ms, start_ns, end_ns)
    if isinstance(found, str) or end_ns <= start_ns:
        return None
    return round(max(0.0, found[-1][1] - found[0][1]) / 1e3 / ((end_ns - start_ns) / NS_PER_S), 3)


def _step(rows: Sequence[HostRow]) -> float:
    steps: list[float] = [((b.wall_ns - a.wall_ns) - (b.time_ns - a.time_ns)) / NS_PER_S for a, b in pairwise(rows)]
    largest: float = max([0.0, *steps], key=abs)
    return round(largest, 6)


def _range(values: Iterable[float | None]) -> Range | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Range(minimum=round(min(known), 3), mean=round(fmean(known), 3), maximum=round(max(known), 3))
