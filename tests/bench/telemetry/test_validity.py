from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolkit.bench.checks import Check, status_of
from toolkit.bench.telemetry.energy import Energy
from toolkit.bench.telemetry.rows import unpack_rows
from toolkit.bench.telemetry.summary import GpuTelemetry, HostTelemetry, Range, TelemetrySummary, summarise
from toolkit.bench.telemetry.validity import Limits, check_output_length, check_telemetry

S = 1_000_000_000
NONE = Energy(joules=None, counter_j=None, trapezoid_j=None, problem="no readings")


def gpu(**changes: Any) -> GpuTelemetry:
    fields: dict[str, Any] = dict.fromkeys(GpuTelemetry.model_fields)
    known = {"index": 0, "energy": NONE, "reasons": {}, "foreign": 0, "unseen": 0, "loaded_sm_mhz": (1980.0, 1980.0)}
    return GpuTelemetry(**{**fields, **known, **changes})


def host(**changes: Any) -> HostTelemetry:
    fields: dict[str, Any] = dict.fromkeys(HostTelemetry.model_fields)
    return HostTelemetry(**{**fields, "cores": 4, "clock_step_s": 0.0, "other_cores": 0.1, **changes})


def checked(*gpus: GpuTelemetry, on: HostTelemetry | None = None, limits: Limits | None = None) -> list[Check]:
    summary = TelemetrySummary(period_s=1, readings=9, problem=None, host=on, gpus=gpus, energy_j=None)
    return list(check_telemetry(summary, limits or Limits()))


def failing(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if not check.passed}


def test_a_quiet_machine() -> None:
    assert checked(gpu(), gpu(index=1), on=host()) == [
        Check(name="no_throttling", passed=True, detail="2 of 2 GPUs judged"),
        Check(name="no_foreign_gpu_process", passed=True, detail="2 of 2 GPUs judged"),
        Check(name="steady_clocks", passed=True, detail="2 of 2 GPUs judged"),
        Check(name="no_clock_step", passed=True, detail="the time of day went forward by 0 s"),
    ]
    assert checked(on=host()) == [
        Check(name="cpu_is_ours", passed=True, detail="others: 0.1 of 4 cores"),
        Check(name="no_clock_step", passed=True, detail="the time of day went forward by 0 s"),
    ]
    assert checked() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"reasons": {"sw_power_cap": 1.0, "hw_thermal_slowdown": 0.25}},
            {"no_throttling": "GPU 1: hw_thermal_slowdown in 25% of the readings"},
        ),
        ({"reasons": {"hw_slowdown": 1.0}}, {"no_throttling": "GPU 1: hw_slowdown in 100% of the readings"}),
        ({"reasons": {"sw_power_cap": 1.0, "gpu_idle": 0.1, "applications_clocks_setting": 1.0}}, {}),
        ({"reasons": None}, {}),
        ({"foreign": 2}, {"no_foreign_gpu_process": "GPU 1: 2 foreign"}),
        (
            {"foreign": 1, "unseen": 3},
            {"no_foreign_gpu_process": "GPU 1: 1 foreign; 3 of another PID namespace, not judged"},
        ),
        ({"foreign": None, "unseen": None}, {}),
        ({"loaded_sm_mhz": (2000.0, 1799.0)}, {"steady_clocks": "GPU 1: 2000 to 1799 MHz"}),
        ({"loaded_sm_mhz": (2000.0, 1800.0)}, {}),
        ({"loaded_sm_mhz": (1400.0, 1980.0)}, {}),
        ({"loaded_sm_mhz": None}, {}),
    ],
)
def test_gpus(change: dict[str, Any], expected: dict[str, str]) -> None:
    checks = checked(gpu(), gpu(index=1, **change), on=host(other_cores=4.0))
    assert failing(checks) == expected
    assert status_of(None, checks) == ("invalid" if expected else "ok")


def test_what_is_not_judged_is_said() -> None:
    details = {check.name: check.detail for check in checked(gpu(reasons=None, unseen=2), gpu(loaded_sm_mhz=None))}
    assert details == {
        "no_throttling": "1 of 2 GPUs judged",
        "no_foreign_gpu_process": "2 of 2 GPUs judged; 2 of another PID namespace, not judged",
        "steady_clocks": "1 of 2 GPUs judged",
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"other_cores": 1.0}, {}),
        ({"other_cores": 1.001}, {"cpu_is_ours": "others: 1.001 of 4 cores"}),
        ({"other_cores": None}, {}),
        ({"other_cores": None, "load_average_1m": Range(minimum=1, mean=2, maximum=8)}, {}),
        (
            {"other_cores": None, "load_average_1m": Range(minimum=1, mean=2, maximum=8.1)},
            {"cpu_is_ours": "load average up to 8.1 on 4 cores"},
        ),
        ({"clock_step_s": -0.6}, {"no_clock_step": "the time of day went back by 0.6 s"}),
        ({"clock_step_s": 3600.0}, {"no_clock_step": "the time of day went forward by 3.6e+03 s"}),
        ({"clock_step_s": -0.5}, {}),
    ],
)
def test_hosts(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert failing(checked(on=host(**change))) == expected


def test_other_limits() -> None:
    limits = Limits(clock_drop=0.0, clock_step_s=0.0, other_share=0.0)
    assert failing(checked(gpu(loaded_sm_mhz=(2.0, 1.0)), on=host(clock_step_s=0.1), limits=limits)).keys() == {
        "steady_clocks",
        "no_clock_step",
    }
    assert failing(checked(on=host(), limits=limits)).keys() == {"cpu_is_ours"}


@pytest.mark.parametrize(("got", "passed"), [(1000, True), (1010, True), (990, True), (1011, False), (0, False)])
def test_output_length(got: float, passed: bool) -> None:
    expected = Check(name="output_length", passed=passed, detail=f"{got} of 1000 tokens")
    assert check_output_length(1000, got) == expected


def test_a_real_gpu_at_its_power_cap_is_valid(recorded: Path) -> None:
    rows = unpack_rows(recorded.read_bytes(), str(recorded))
    began = rows[0].time_ns + 2_005_000_000
    checks = check_telemetry(summarise(rows, began, began + 15 * S, period_s=0.5, cores=16))
    assert [(check.name, check.passed) for check in checks] == [
        ("no_throttling", True),
        ("no_foreign_gpu_process", True),
        ("steady_clocks", True),
        ("no_clock_step", True),
    ]
