"""What the host of a measurement is: its processor, the share of it this process may use, its load."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from toolkit.bench.environment.types import Host

GIB = 1 << 30
CPUINFO = Path("/proc/cpuinfo")
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
NODES = Path("/sys/devices/system/node")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe_host() -> Host:
    return Host(
        cpu_model=cpu_model(CPUINFO),
        cpu_cores=len(os.sched_getaffinity(0)),
        cpu_quota=cpu_quota(CPU_MAX),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB),
        numa_nodes=len(list(NODES.glob("node[0-9]*"))) or None,
        governor=governor(GOVERNOR),
        load_average_1m=round(os.getloadavg()[0], 2),
    )


def cpu_model(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def cpu_quota(cpu_max: Path) -> float | None:
    """The limit in cores of a cgroup v2 ``cpu.max``; None without one."""
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def governor(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
