from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench.nvml_stand_in import StandIn, h100
from toolkit.bench.environment.nvml import Nvml
from toolkit.bench.telemetry import sources
from toolkit.bench.telemetry.processes import Family, Process
from toolkit.bench.telemetry.rows import GpuRow, HostRow
from toolkit.bench.telemetry.sources import Sources, read_gpu, read_host


def seen(*pids: int) -> dict[int, Process]:
    return {pid: Process(parent=1, session=1, ticks=10 * pid) for pid in pids}


def without_time(row: GpuRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__slots__ if name != "time_ns"}


def test_a_gpu() -> None:
    listed = [SimpleNamespace(pid=pid) for pid in (10, 20, 30, 40)]
    module = StandIn([h100(), h100(ComputeRunningProcesses=listed, CurrentClocksEventReasons=0x24)])
    family = Family(10, members={10})
    assert without_time(read_gpu(Nvml(module), 1, family, seen(10, 20))) == {
        "index": 1,
        "power_mw": 350_000,
        "energy_mj": 1_000_000,
        "temperature_c": 45,
        "sm_mhz": 1755,
        "memory_mhz": 2619,
        "busy_pct": 90,
        "used_mib": 480,
        "reasons": 0x24,
        "foreign": 1,
        "unseen": 2,
    }


def test_the_older_name_of_the_reasons() -> None:
    gpu = h100(CurrentClocksThrottleReasons=8)
    del gpu["CurrentClocksEventReasons"]
    row = read_gpu(Nvml(StandIn([gpu])), 0, None, {})
    assert (row.reasons, row.foreign, row.unseen) == (8, None, None)


def test_a_gpu_that_answers_nothing() -> None:
    row = read_gpu(Nvml(StandIn([{}])), 0, Family(10), {})
    assert row == GpuRow(time_ns=row.time_ns, index=0)


def test_the_host(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 4000 500 6 7 80 9 9\ncpu0 1 1 1 1\n")
    for core in os.sched_getaffinity(0):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text("2500000\n")
    row = read_host(Family(10, members={10, 20}), seen(10, 20, 30), stat=stat, cores=tmp_path)
    tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    assert (row.busy_ms, row.stolen_ms, row.own_ms, row.mhz) == (163 * tick_ms, 80 * tick_ms, 300 * tick_ms, 2500)


@pytest.mark.parametrize("text", ["", "cpu 1 2\n", "cpu a b c d e f g h\n"])
def test_a_host_that_says_little(tmp_path: Path, text: str) -> None:
    stat = tmp_path / "stat"
    stat.write_text(text)
    row = read_host(None, {}, stat=stat, cores=tmp_path)
    assert row == HostRow(row.time_ns, row.wall_ns, load_centi=row.load_centi)
    absent = read_host(None, {}, stat=tmp_path / "absent", cores=tmp_path)
    assert absent.busy_ms is None


def test_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Sources(Family(), Nvml(StandIn([h100(), h100(), h100()])), (2, 0)).read()
    assert [type(row) for row in rows] == [HostRow, GpuRow, GpuRow]
    assert [row.index for row in rows if isinstance(row, GpuRow)] == [2, 0]
    assert isinstance(rows[0], HostRow)
    assert rows[0].own_ms is not None
    (alone,) = Sources(None).read()
    assert isinstance(alone, HostRow)
    assert alone.own_ms is None
    assert sources.STAT.is_file() == (alone.busy_ms is not None)
