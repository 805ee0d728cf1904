"""What readings say against a trial's numbers: pure functions of its summary, so a record can be checked again."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.bench.checks import Check
from toolkit.bench.telemetry.summary import GpuTelemetry, HostTelemetry, TelemetrySummary

THROTTLED = ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
"""Reasons that a healthy, cooled machine has not. The power cap is not one of them: under load an H100 is at it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``clock_drop``: of the median SM clock under load, from the first half to the second. ``clock_step_s``: of the
    time of day against the monotonic clock. ``other_share``: of the host's cores at work for anybody else, and where
    that is not known ``load_a_core``, the load average by the number of cores."""

    clock_drop: float = 0.10
    clock_step_s: float = 0.5
    other_share: float = 0.25
    load_a_core: float = 2.0


DEFAULT = Limits()


def check_telemetry(summary: TelemetrySummary, limits: Limits = DEFAULT) -> tuple[Check, ...]:
    """Throttling, foreign processes and falling clocks of GPUs; on a CPU the load of others; a stepping clock.

    What could not be read is said in ``detail`` and counts as passed: a container may not be allowed to ask.
    """
    checks: list[Check] = []
    if summary.gpus:
        checks += [_throttling(summary.gpus), _foreign(summary.gpus), _clocks(summary.gpus, limits.clock_drop)]
    elif summary.host is not None:
        checks.append(_load(summary.host, limits))
    if summary.host is not None:
        checks.append(check_clock_step(summary.host.clock_step_s, limits.clock_step_s))
    return tuple(checks)


def check_clock_step(step_s: float, limit_s: float = DEFAULT.clock_step_s) -> Check:
    """``step_s``: by how much the time of day moved against the monotonic clock."""
    way = "back" if step_s < 0 else "forward"
    return Check(
        name="no_clock_step", passed=abs(step_s) <= limit_s, detail=f"the time of day went {way} by {abs(step_s):.3g} s"
    )


def check_output_length(asked: float, got: float, tolerance: float = 0.01) -> Check:
    """Mean output lengths in tokens: a trial of other lengths measured another workload."""
    return Check(
        name="output_length", passed=abs(got - asked) <= tolerance * asked, detail=f"{got:g} of {asked:g} tokens"
    )


def _throttling(gpus: tuple[GpuTelemetry, ...]) -> Check:
    known = [gpu for gpu in gpus if gpu.reasons is not None]
    found = [
        f"GPU {gpu.index}: {name} in {share:.0%} of the readings"
        for gpu in known
        for name, share in (gpu.reasons or {}).items()
        if name in THROTTLED
    ]
    return Check(name="no_throttling", passed=not found, detail="; ".join(found) or _read(len(known), len(gpus)))


def _foreign(gpus: tuple[GpuTelemetry, ...]) -> Check:
    known = [gpu for gpu in gpus if gpu.foreign is not None]
    found = [f"GPU {gpu.index}: {gpu.foreign} foreign" for gpu in known if gpu.foreign]
    unseen = sum(gpu.unseen or 0 for gpu in known)
    detail = "; ".join(found) or _read(len(known), len(gpus))
    detail += f"; {unseen} of another PID namespace, not judged" if unseen else ""
    return Check(name="no_foreign_gpu_process", passed=not found, detail=detail)


def _clocks(gpus: tuple[GpuTelemetry, ...], limit: float) -> Check:
    halves = [(gpu.index, *gpu.loaded_sm_mhz) for gpu in gpus if gpu.loaded_sm_mhz is not None]
    found = [
        f"GPU {index}: {first:g} to {second:g} MHz" for index, first, second in halves if second < first * (1 - limit)
    ]
    return Check(name="steady_clocks", passed=not found, detail="; ".join(found) or _read(len(halves), len(gpus)))


def _load(host: HostTelemetry, limits: Limits) -> Check:
    """Foreign CPU time where it is known; else the load average, which counts the benchmark's own work, too."""
    if host.other_cores is not None:
        passed = host.other_cores <= limits.other_share * host.cores
        return Check(name="cpu_is_ours", passed=passed, detail=f"others: {host.other_cores:g} of {host.cores} cores")
    if host.load_average_1m is None:
        return Check(name="cpu_is_ours", passed=True, detail="not known")
    highest = host.load_average_1m.maximum
    passed = highest <= limits.load_a_core * host.cores
    return Check(name="cpu_is_ours", passed=passed, detail=f"load average up to {highest:g} on {host.cores} cores")


def _read(known: int, total: int) -> str:
    return f"{known} of {total} GPUs judged"
