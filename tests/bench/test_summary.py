from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.made_up import add_trial, fill, made_up_environment, made_up_sweep
from toolkit.bench.records import TRIAL_FILE, scan_sweep
from toolkit.bench.summary import LeftOut, Measures, Row, summarize

MACHINE = "Made-up CPU for tests, 2 cores, 8 GiB"


def test_a_row_for_each_point(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    (table,) = summarize([scan_sweep(folder)]).tables
    assert (table.hardware, table.machine) == ("CPU", MACHINE)
    assert [(row.osl, row.concurrency) for row in table.rows] == [(3, 1), (3, 2), (5, 1), (5, 2)]
    # concurrency 2: TTFT 80 ms, TPOT 14 ms, so 108 ms for three tokens and two rounds of two requests
    assert table.rows[1] == Row(
        run=sweep.title,
        variant="default",
        isl=4,
        osl=3,
        concurrency=2,
        requests=4,
        trials=1,
        tok_s=pytest.approx(12 / 0.216),
        tok_s_user=pytest.approx(3 / 0.108),
        ttft_p50_ms=80.0,
        ttft_p99_ms=80.0,
        tpot_p50_ms=14.0,
        tpot_p99_ms=14.0,
    )


def test_a_row_is_the_median_of_its_repeats(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path, repeats=3)
    repeats = [point for point in sweep.plan.points if (point.osl, point.concurrency) == (3, 1)]
    for point, ttft in zip(repeats, (90, 30, 40), strict=True):
        add_trial(folder, sweep, point, ttft_ms=ttft, tpot_ms=10)
    (table,) = summarize([scan_sweep(folder)]).tables
    (row,) = table.rows
    assert (row.trials, row.ttft_p50_ms, row.tok_s) == (3, 40.0, pytest.approx(3 / 0.060))
    assert (table.runs[0].measured, table.runs[0].planned) == (3, 12)


def test_cpu_and_gpu_never_share_a_table(tmp_path: Path) -> None:
    sweeps = [
        made_up_sweep(tmp_path, name=name, hardware=hardware) for name, hardware in (("b", "CPU"), ("a", "GPU x"))
    ]
    for folder, sweep, _ in sweeps:
        fill(folder, sweep)
    tables = summarize(scan_sweep(folder) for folder, _, _ in sweeps).tables
    assert [(table.hardware, [run.name for run in table.runs]) for table in tables] == [
        ("CPU", [sweeps[0][1].title]),
        ("GPU x", [sweeps[1][1].title]),
    ]
    assert [{row.run for row in table.rows} for table in tables] == [{sweeps[0][1].title}, {sweeps[1][1].title}]


def test_a_server_on_another_machine_has_a_table_of_its_own(tmp_path: Path) -> None:
    folders = [made_up_sweep(tmp_path)[0], made_up_sweep(tmp_path, server="host")[0]]
    tables = summarize(map(scan_sweep, folders)).tables
    assert [table.machine for table in tables] == [
        MACHINE,
        f"client on {MACHINE}, server on host",
    ]


def test_runners_never_share_a_table(tmp_path: Path) -> None:
    folders = []
    for runner in ("triton", "engine"):
        folder, sweep, _ = made_up_sweep(tmp_path, runner=runner)
        fill(folder, sweep)
        folders.append(folder)
    tables = summarize(map(scan_sweep, folders)).tables
    assert [(table.hardware, table.machine, table.runner) for table in tables] == [
        ("CPU", MACHINE, "engine"),
        ("CPU", MACHINE, "triton"),
    ]
    assert [{row.run for row in table.rows} for table in tables] == [{folders[1].name}, {folders[0].name}]


def test_variants_never_share_a_row(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path, variants=("w4a4", "bf16"), repeats=2)
    for point in sweep.plan.points:
        ttft = 100 if point.variant == "bf16" else 10
        add_trial(folder, sweep, point, ttft_ms=ttft, tpot_ms=10)
    (table,) = summarize([scan_sweep(folder)]).tables
    assert [(row.variant, row.osl, row.concurrency, row.trials, row.ttft_p50_ms) for row in table.rows] == [
        (variant, osl, users, 2, ttft)
        for osl in (3, 5)
        for users in (1, 2)
        for variant, ttft in (("w4a4", 10.0), ("bf16", 100.0))
    ]
    assert [one.variant for one in table.runs[0].variants] == ["w4a4", "bf16"]
    assert Measures("w4a4", "cpu, w4a16, experts dense", table.runs[0].variants[0].bundle) == table.runs[0].variants[0]


def test_where_the_numbers_come_from(tmp_path: Path) -> None:
    folder, sweep, environment = made_up_sweep(tmp_path)
    first, second, *_ = sweep.plan.points
    add_trial(folder, sweep, first, ttft_ms=1, tpot_ms=1, started_at="2025-01-03T00:00:00.000Z")
    add_trial(folder, sweep, second, ttft_ms=1, tpot_ms=1, argv=("trtkit", "bench", "run", "a b.yaml"))
    ((run,),) = [table.runs for table in summarize([scan_sweep(folder)]).tables]
    assert (run.planned, run.measured) == (4, 2)
    assert (run.started_at, run.ended_at) == ("2025-01-01T00:00:00.000Z", "2025-01-01T00:01:00.000Z")
    assert [(one.variant, one.target) for one in run.variants] == [("default", "cpu, w4a16, experts dense")]
    assert run.load_average == (0.5, 0.5)
    assert run.software == {"python": "3.11.0", "trtkit": "0.0.0", "blas": "blas 1.0"}
    assert run.environment == environment.env_id == made_up_environment("CPU").env_id
    assert sorted(run.commands) == ["trtkit bench run 'a b.yaml'", "trtkit bench run made-up.yaml"]


def test_what_is_left_out(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    failed, invalid, damaged, _ = sweep.plan.points
    add_trial(folder, sweep, failed, ttft_ms=1, tpot_ms=1, status="failed", error="the server is gone", metrics=None)
    add_trial(folder, sweep, invalid, ttft_ms=1, tpot_ms=1, status="invalid", metrics=None)
    path = add_trial(folder, sweep, damaged, ttft_ms=1, tpot_ms=1) / TRIAL_FILE
    path.write_text("{")
    summary = summarize([scan_sweep(folder)])
    assert [table.rows for table in summary.tables] == [()]
    assert sorted((left.trial, left.status, left.run) for left in summary.left_out) == sorted(
        [
            (f"{failed.point_id}/r1-1", "failed", sweep.title),
            (f"{invalid.point_id}/r1-1", "invalid", sweep.title),
            (str(path.relative_to(folder)), "damaged", sweep.title),
        ]
    )
    assert LeftOut(sweep.title, f"{failed.point_id}/r1-1", "failed", "the server is gone") in summary.left_out
