from __future__ import annotations

from pathlib import Path

from toolkit.bench.telemetry.energy import Energy
from toolkit.bench.telemetry.rows import GpuRow, HostRow, Row, unpack_rows
from toolkit.bench.telemetry.summary import GpuTelemetry, HostTelemetry, Range, TelemetrySummary, summarise

S = 1_000_000_000
WALL = 1_700_000_000 * S


def gpu(at: int, index: int = 0, **values: int) -> GpuRow:
    answers = {"power_mw": 300_000, "energy_mj": at * 300_000, "sm_mhz": 1980, "busy_pct": 99, "reasons": 0}
    return GpuRow(at * S, index, **{**answers, **values})


def host(at: int, **values: int) -> HostRow:
    counters = {"load_centi": 150, "busy_ms": at * 1500, "stolen_ms": at * 100, "own_ms": at * 1000}
    return HostRow(at * S, WALL + at * S + values.pop("step_ms", 0) * 1_000_000, **{**counters, **values})


def test_a_whole_summary() -> None:
    rows: list[Row] = [
        host(0, load_centi=900),
        gpu(0, sm_mhz=300, busy_pct=0, reasons=1),
        host(2),
        gpu(2, temperature_c=60, used_mib=70_000, foreign=0, unseen=1),
        host(4, load_centi=250, mhz=2500),
        gpu(4, power_mw=500_000, sm_mhz=1400, reasons=0x24, temperature_c=70, used_mib=70_000, foreign=2, unseen=0),
        host(6),
        gpu(6),
    ]
    summary = summarise(rows, 1 * S, 5 * S, period_s=2, cores=4)
    assert summary == TelemetrySummary(
        period_s=2,
        readings=2,
        problem=None,
        host=HostTelemetry(
            cores=4,
            load_average_1m=Range(minimum=1.5, mean=2.0, maximum=2.5),
            mhz=Range(minimum=2500, mean=2500, maximum=2500),
            busy_cores=1.5,
            own_cores=1.0,
            other_cores=0.6,
            clock_step_s=0.0,
        ),
        gpus=(
            GpuTelemetry(
                index=0,
                power_w=Range(minimum=300, mean=400, maximum=500),
                temperature_c=Range(minimum=60, mean=65, maximum=70),
                sm_mhz=Range(minimum=1400, mean=1690, maximum=1980),
                memory_mhz=None,
                busy_pct=Range(minimum=99, mean=99, maximum=99),
                used_mib=Range(minimum=70_000, mean=70_000, maximum=70_000),
                reasons={"sw_power_cap": 0.5, "sw_thermal_slowdown": 0.5},
                loaded_sm_mhz=(1980.0, 1400.0),
                foreign=2,
                unseen=1,
                # 300 W to 2 s, then up to 500 W at 4 s and down to 400 W at 5 s: 300 + 800 + 450
                energy=Energy(joules=1200.0, counter_j=1200.0, trapezoid_j=1550.0, problem=None),
            ),
        ),
        energy_j=1200.0,
    )
    assert TelemetrySummary.model_validate_json(summary.model_dump_json()) == summary


def test_the_energy_of_all_gpus_or_none() -> None:
    both = [gpu(0), gpu(0, 1), gpu(2), gpu(2, 1, power_mw=100_000, energy_mj=400_000)]
    assert summarise(both, 0, 2 * S, period_s=2).energy_j == 1000.0
    one = [*both[:3], GpuRow(2 * S, 1)]
    summary = summarise(one, 0, 2 * S, period_s=2)
    assert (summary.energy_j, summary.gpus[0].energy.joules) == (None, 600.0)
    assert summarise([host(0), host(2)], 0, 2 * S, period_s=2).energy_j is None


def test_a_trial_between_two_readings() -> None:
    rows: list[Row] = [host(0), gpu(0, reasons=0x40), host(2), gpu(2)]
    summary = summarise(rows, S // 2, S, period_s=2, problem="why", cores=2)
    assert (summary.readings, summary.problem) == (0, "why")
    assert summary.energy_j == 150.0
    assert summary.gpus[0].reasons == {"hw_thermal_slowdown": 0.5}
    assert summary.host is not None
    assert summary.host.other_cores == 0.6


def test_no_readings() -> None:
    assert summarise([], 0, S, period_s=0.5, problem="x") == TelemetrySummary(
        period_s=0.5, readings=0, problem="x", host=None, gpus=(), energy_j=None
    )


def test_idle_clocks_are_not_under_load() -> None:
    rows = [gpu(0), gpu(1, busy_pct=10, sm_mhz=300), gpu(2, busy_pct=10, sm_mhz=300)]
    assert summarise(rows, 0, 2 * S, period_s=1).gpus[0].loaded_sm_mhz is None


def test_the_clock_of_the_day_steps() -> None:
    rows = [host(0), host(1, step_ms=300), host(2, step_ms=-1900), host(3, step_ms=-1900)]
    summary = summarise(rows, 0, 3 * S, period_s=1)
    assert summary.host is not None
    assert summary.host.clock_step_s == -2.2


def test_a_server_of_somebody_else() -> None:
    rows = [HostRow(at * S, WALL + at * S, busy_ms=at * 500) for at in range(3)]
    summary = summarise(rows, 0, 2 * S, period_s=1)
    assert summary.host is not None
    assert (summary.host.busy_cores, summary.host.own_cores, summary.host.other_cores) == (0.5, None, None)


def test_a_real_gpu(recorded: Path) -> None:
    rows = unpack_rows(recorded.read_bytes(), str(recorded))
    began = rows[0].time_ns + 2_005_000_000
    summary = summarise(rows, began, began + 15 * S, period_s=0.5, cores=16)
    (found,) = summary.gpus
    assert (found.foreign, found.unseen, found.reasons) == (0, 0, {"sw_power_cap": 1.0})
    assert found.temperature_c == Range(minimum=51, mean=57.633, maximum=60)
    assert found.loaded_sm_mhz == (1395.0, 1365.0)
    assert summary.host is not None
    assert summary.host.own_cores is not None
    assert 0.9 < summary.host.own_cores < 1.1  # one Python thread that waits for the GPU
