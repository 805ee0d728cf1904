from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from toolkit.bench.environment import host


def test_this_host() -> None:
    found = host.describe_host()
    assert found.cpu_cores == len(os.sched_getaffinity(0))
    assert found.memory_gib >= 1
    assert found.load_average_1m >= 0


def test_cpu_model(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 3: GHz\nprocessor\t: 1\nmodel name\t: Other\n")
    assert host.cpu_model(cpuinfo) == "Some CPU @ 3: GHz"
    assert host.cpu_model(tmp_path / "absent") == (platform.processor() or platform.machine())


@pytest.mark.parametrize(("text", "quota"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("nonsense", None)])
def test_cpu_quota(tmp_path: Path, text: str, quota: float | None) -> None:
    cpu_max = tmp_path / "cpu.max"
    cpu_max.write_text(text)
    assert host.cpu_quota(cpu_max) == quota
    assert host.cpu_quota(tmp_path / "absent") is None


def test_governor(tmp_path: Path) -> None:
    path = tmp_path / "scaling_governor"
    path.write_text("performance\n")
    assert host.governor(path) == "performance"
    assert host.governor(tmp_path / "absent") is None
