"""Take one reading of a GPU or of the host."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.bench.environment.nvml import Nvml
from toolkit.bench.telemetry.processes import Family, Process
from toolkit.bench.telemetry.rows import GpuRow, HostRow, Row

MIB = 1 << 20
STAT = Path("/proc/stat")
CORES = Path("/sys/devices/system/cpu")
MOST_CORES = 8
"""The frequencies of more cores take long to read."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read: the host always, ``gpus`` (NVML's indices) where there is NVML.

    ``family`` is None when the server is not the benchmark's own: nothing is then said of foreign processes.
    """

    family: Family | None
    nvml: Nvml | None = None
    gpus: Sequence[int] = ()

    def read(self) -> list[Row]:
        seen = self.family.look() if self.family else {}
        rows: list[Row] = [read_host(self.family, seen)]
        if self.nvml is not None:
            rows += [read_gpu(self.nvml, index, self.family, seen) for index in self.gpus]
        return rows


def read_gpu(nvml: Nvml, index: int, family: Family | None, seen: Mapping[int, Process]) -> GpuRow:
    """GPU ``index`` now. ``seen`` are the processes that ``family`` was found among."""
    handle = nvml.handle(index)
    memory = nvml.ask("DeviceGetMemoryInfo", handle)
    rates = nvml.ask("DeviceGetUtilizationRates", handle)
    reasons = nvml.ask("DeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:  # its name before driver 535
        reasons = nvml.ask("DeviceGetCurrentClocksThrottleReasons", handle)
    listed = nvml.ask("DeviceGetComputeRunningProcesses", handle) if family else None
    pids = None if listed is None else {process.pid for process in listed} - (family.members if family else set())
    return GpuRow(
        time_ns=time.monotonic_ns(),
        index=index,
        power_mw=nvml.ask("DeviceGetPowerUsage", handle),
        energy_mj=nvml.ask("DeviceGetTotalEnergyConsumption", handle),
        temperature_c=nvml.ask("DeviceGetTemperature", handle, nvml.constant("NVML_TEMPERATURE_GPU")),
        sm_mhz=nvml.ask("DeviceGetClockInfo", handle, nvml.constant("NVML_CLOCK_SM")),
        memory_mhz=nvml.ask("DeviceGetClockInfo", handle, nvml.constant("NVML_CLOCK_MEM")),
        busy_pct=rates.gpu if rates else None,
        used_mib=memory.used // MIB if memory else None,
        reasons=reasons,
        foreign=None if pids is None else len(pids & seen.keys()),
        unseen=None if pids is None else len(pids - seen.keys()),
    )


def read_host(family: Family | None, seen: Mapping[int, Process], *, stat: Path = STAT, cores: Path = CORES) -> HostRow:
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    busy, stolen = _spent(stat)
    own = sum(process.ticks for pid, process in seen.items() if family and pid in family.members)

    def milliseconds(ticks: int | None) -> int | None:
        return None if ticks is None else round(ticks * tick_ms)

    return HostRow(
        time_ns=time.monotonic_ns(),
        wall_ns=time.time_ns(),
        load_centi=round(os.getloadavg()[0] * 100),
        busy_ms=milliseconds(busy),
        stolen_ms=milliseconds(stolen),
        own_ms=milliseconds(own if family and seen else None),
        mhz=_mhz(cores),
    )


def _spent(stat: Path) -> tuple[int | None, int | None]:
    """Ticks spent and stolen over all cores (proc(5): user nice system idle iowait irq softirq steal)."""
    try:
        values = [int(value) for value in stat.read_bytes().split(b"\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None, None
    if len(values) < 8:
        return None, None
    user, nice, system, _idle, _iowait, irq, softirq, steal = values
    return user + nice + system + irq + softirq, steal


def _mhz(cores: Path) -> int | None:
    """Mean frequency of the first cores that this process may use; kHz in sysfs, None where it is not there."""
    found: list[int] = []
    for core in sorted(os.sched_getaffinity(0))[:MOST_CORES]:
        try:
            found.append(int((cores / f"cpu{core}/cpufreq/scaling_cur_freq").read_bytes()))
        except (OSError, ValueError):
            return None
    return round(sum(found) / len(found) / 1e3)
