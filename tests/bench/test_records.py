from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.made_up import add_trial, fill, made_up_requests, made_up_sweep, recorded_requests
from toolkit.bench import files
from toolkit.bench.checks import check_trial
from toolkit.bench.evidence import pack_requests
from toolkit.bench.grid import Point
from toolkit.bench.metrics import Metrics, compute_metrics
from toolkit.bench.records import (
    INDEX_FILE,
    SWEEP_FILE,
    TRIAL_FILE,
    digests,
    next_attempt,
    open_sweep,
    read_sweep,
    read_trial,
    scan_sweep,
    write_index,
)
from toolkit.bench.request import RequestRecord
from toolkit.bench.trial import REQUESTS_FILE
from toolkit.errors import RecordError


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """The folder of one whole trial."""
    folder, sweep, _ = made_up_sweep(tmp_path)
    return add_trial(folder, sweep, sweep.plan.points[0], ttft_ms=40, tpot_ms=10)


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_layout(trial: Path) -> None:
    folder = trial.parents[2]
    sweep = read_sweep(folder)
    point = sweep.plan.points[0].point_id
    assert folder.name == f"made-up-test-data-{sweep.sweep_id}"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        f"env/{sweep.plan.environment}.json",
        "sweep.json",
        f"trials/{point}/r1-1/requests.jsonl.gz",
        f"trials/{point}/r1-1/trial.json",
    ]


def test_records_read_back_as_written(trial: Path) -> None:
    point = read_sweep(trial.parents[2]).plan.points[0]
    record = read_trial(trial)
    assert (record.point, record.status, record.hardware, record.trial_id) == (
        point,
        "ok",
        "CPU",
        f"{point.point_id}/r1-1",
    )
    assert recorded_requests(trial) == made_up_requests(point, ttft_ms=40, tpot_ms=10)


def test_units_are_in_the_names(trial: Path) -> None:
    metrics = json.loads((trial / TRIAL_FILE).read_text())["metrics"]
    assert [name for name in metrics if not name.endswith(("_ms", "_tok", "_tok_s", "_req_s"))] == [
        "num_requests",
        "avg_concurrent_requests",
    ]


def test_a_trial_is_never_written_over(trial: Path) -> None:
    folder = trial.parents[2]
    sweep = read_sweep(folder)
    before = (trial / TRIAL_FILE).read_bytes()
    with pytest.raises(RecordError, match=r"r1-1: cannot write the trial: File exists"):
        add_trial(folder, sweep, sweep.plan.points[0], ttft_ms=1, tpot_ms=1)
    assert (trial / TRIAL_FILE).read_bytes() == before
    assert next_attempt(folder, sweep.plan.points[0]) == 2
    assert next_attempt(folder, sweep.plan.points[1]) == 1


def test_a_truncated_trial(trial: Path) -> None:
    path = trial / TRIAL_FILE
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match="not a whole Trial record") as caught:
            read_trial(trial)
        assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 3}, "not a Trial record that this version reads: schema 3, not 1 and 2"),
        ({"schema_version": None}, "not a Trial record that this version reads: schema None, not 1 and 2"),
        ({"status": "fine"}, "status: Input should be 'ok', 'failed', 'invalid', 'timeout', 'stalled', 'oom' or 'inte"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
        ({"metrics": None}, "status 'ok' and its metrics contradict each other"),
        ({"status": "failed"}, "status 'failed' and its metrics contradict each other"),
        ({"attempt": 2}, "its folder says"),
        ({"point_id": "0123456789"}, "its folder says"),
        ({"point": {"isl": 9, "osl": 3, "concurrency": 1, "requests": 4, "warmup": 1, "repeat": 1}}, "its folder says"),
    ],
)
def test_a_trial_that_does_not_fit(trial: Path, changes: dict[str, object], message: str) -> None:
    rewrite(trial / TRIAL_FILE, **changes)
    with pytest.raises(RecordError, match=message) as caught:
        read_trial(trial)
    assert caught.value.where == str(trial / TRIAL_FILE)


def test_tampered_requests(trial: Path) -> None:
    path = trial / REQUESTS_FILE
    lines = gzip.decompress(path.read_bytes()).replace(b'"prompt_tokens":4', b'"prompt_tokens":5')
    path.write_bytes(gzip.compress(lines))
    with pytest.raises(RecordError, match=r"its SHA-256 is not the one in trial\.json") as caught:
        read_trial(trial)
    assert caught.value.where == str(path)


def metrics_of(trial: Path, **changes: object) -> dict[str, object]:
    metrics: dict[str, object] = json.loads((trial / TRIAL_FILE).read_text())["metrics"]
    return metrics | changes


def test_tampered_metrics(trial: Path) -> None:
    path = trial / TRIAL_FILE
    metrics = metrics_of(trial)
    for name in ("system_output_throughput_tok_s", "num_requests"):
        rewrite(path, metrics=metrics_of(trial, **{name: 1}))
        with pytest.raises(RecordError, match="its metrics are not those of its requests") as caught:
            read_trial(trial)
        assert caught.value.where == str(path)
        rewrite(path, metrics=metrics)
    assert read_trial(trial).status == "ok"


def test_tampered_checks(trial: Path) -> None:
    path = trial / TRIAL_FILE
    checks = json.loads(path.read_text())["checks"]
    checks[1]["detail"] = "400 requests, 400 planned"
    for changed in (checks, checks[:-1], []):
        rewrite(path, checks=changed)
        with pytest.raises(RecordError, match="its checks are not those of its requests") as caught:
            read_trial(trial)
        assert caught.value.where == str(path)


def test_an_ok_trial_whose_checks_failed(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    point = sweep.plan.points[0]
    requests = made_up_requests(replace(point, osl=2), ttft_ms=40, tpot_ms=10)
    packed = pack_requests(requests)
    path = add_trial(
        folder,
        sweep,
        point,
        ttft_ms=40,
        tpot_ms=10,
        checks=check_trial(point, requests),
        metrics=compute_metrics(requests),
    )
    (path / REQUESTS_FILE).write_bytes(packed)
    rewrite(path / TRIAL_FILE, evidence=digests({REQUESTS_FILE: packed}))
    with pytest.raises(RecordError, match="its status is ok, but its checks are not"):
        read_trial(path)
    rewrite(path / TRIAL_FILE, status="invalid", metrics=None)
    assert read_trial(path).reason == "osl_3: 0 of 4 requests"


@given(st.lists(st.integers(1, 10**11), min_size=4, max_size=4), st.integers(1, 10**10))
def test_metrics_survive_the_file_to_the_last_bit(latencies: list[int], itl: int) -> None:
    point = Point(isl=4, osl=3, concurrency=1, requests=4, warmup=1, repeat=1)
    requests = tuple(
        RequestRecord(
            id=number,
            prompt_tokens=4,
            start_ns=number,
            token_ns=(number + latency, number + latency + 1, number + latency + itl),
            end_ns=number + latency + itl,
            status="ok",
        )
        for number, latency in enumerate(latencies)
    )
    metrics = compute_metrics(requests)
    assert all(check.passed for check in check_trial(point, requests))
    assert Metrics.model_validate_json(metrics.model_dump_json(indent=2)) == metrics


def test_missing_requests(trial: Path) -> None:
    (trial / REQUESTS_FILE).unlink()
    with pytest.raises(RecordError, match=r"requests\.jsonl\.gz: cannot read it: No such file"):
        read_trial(trial)


def test_a_scan_takes_whole_trials_only(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    trials = sorted((folder / "trials").glob("*/r*"))
    (trials[0] / TRIAL_FILE).write_bytes(b'{"schema_version": 2')
    (trials[1] / REQUESTS_FILE).write_bytes(b"")
    shutil.copytree(trials[2], trials[2].parent / ".r1-2.tmp")
    (trials[2].parent / "r1-3").mkdir()
    scan = scan_sweep(folder)
    assert {record.trial_id for record in scan.trials} == {f"{path.parent.name}/r1-1" for path in trials[2:]}
    assert sorted(error.where or "" for error in scan.damaged) == sorted(
        str(path)
        for path in (trials[0] / TRIAL_FILE, trials[1] / REQUESTS_FILE, trials[2].parent / "r1-3" / TRIAL_FILE)
    )


def test_a_trial_of_another_sweep_is_not_taken(tmp_path: Path) -> None:
    folder = made_up_sweep(tmp_path)[0]
    other, other_sweep, _ = made_up_sweep(tmp_path, name="other-test-data")
    moved = add_trial(other, other_sweep, other_sweep.plan.points[0], ttft_ms=1, tpot_ms=1)
    shutil.copytree(moved, folder / "trials" / moved.parent.name / moved.name)
    scan = scan_sweep(folder)
    assert scan.trials == ()
    assert [error.what for error in scan.damaged] == ["it belongs to another sweep"]


def test_failed_trials_are_not_finished_ones(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    point = sweep.plan.points[0]
    add_trial(folder, sweep, point, ttft_ms=1, tpot_ms=1, status="failed", error="gone", metrics=None)
    assert scan_sweep(folder).finished(point) is None
    add_trial(folder, sweep, point, ttft_ms=1, tpot_ms=1, attempt=2)
    finished = scan_sweep(folder).finished(point)
    assert finished is not None
    assert finished.attempt == 2


def test_opening_again_keeps_trials_and_removes_leftovers(tmp_path: Path) -> None:
    folder, sweep, environment = made_up_sweep(tmp_path)
    fill(folder, sweep)
    before = scan_sweep(folder)
    leftover = folder / "trials" / sweep.plan.points[0].point_id / ".r1-2.tmp"
    leftover.mkdir()
    (leftover / TRIAL_FILE).write_text("{")
    with open_sweep(folder, sweep, environment):
        assert not leftover.exists()
    assert scan_sweep(folder) == before


def test_two_runs_never_share_a_sweep(tmp_path: Path) -> None:
    folder, sweep, environment = made_up_sweep(tmp_path)
    with (
        open_sweep(folder, sweep, environment),
        pytest.raises(RecordError, match="another run is measuring this sweep"),
        open_sweep(folder, sweep, environment),
    ):
        raise AssertionError("the second run got in")
    with open_sweep(folder, sweep, environment):
        pass


def test_a_folder_of_another_sweep(tmp_path: Path) -> None:
    folder, sweep, environment = made_up_sweep(tmp_path)
    other = made_up_sweep(tmp_path, name="other-test-data")[1]
    with (
        pytest.raises(RecordError, match=r"sweep\.json: it holds another sweep"),
        open_sweep(folder, other, environment),
    ):
        raise AssertionError("it was opened")
    assert read_sweep(folder) == sweep


def test_a_changed_plan_does_not_keep_its_id(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    plan = sweep.plan.model_dump(mode="json") | {"server": "elsewhere:1"}
    rewrite(folder / SWEEP_FILE, plan=plan)
    with pytest.raises(RecordError, match=r"sweep\.json: its id is not that of its plan"):
        scan_sweep(folder)


def test_a_full_disk_leaves_nothing_of_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    point = sweep.plan.points[0]
    whole = files.write_atomic

    def full(path: Path, data: bytes) -> None:
        if path.name == TRIAL_FILE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(path, data)

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(RecordError, match=r"r1-1: cannot write the trial: No space left on device\. Make room and run"):
        add_trial(folder, sweep, point, ttft_ms=1, tpot_ms=1)
    assert list((folder / "trials" / point.point_id).iterdir()) == []
    monkeypatch.undo()
    add_trial(folder, sweep, point, ttft_ms=1, tpot_ms=1)
    assert scan_sweep(folder).finished(point) is not None


def test_the_index_is_made_from_the_trials_alone(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path, variants=("a", "b"))
    fill(folder, sweep)
    path = write_index(folder, scan_sweep(folder).trials)
    assert path == folder / INDEX_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["trial"] for line in lines} == {trial.trial_id for trial in scan_sweep(folder).trials}
    assert {(line["variant"], line["osl"], line["concurrency"]) for line in lines} == {
        (variant, osl, users) for variant in "ab" for osl in (3, 5) for users in (1, 2)
    }
    path.unlink()
    before = [line["trial"] for line in lines]
    write_index(folder, tuple(reversed(scan_sweep(folder).trials)))
    assert [json.loads(line)["trial"] for line in path.read_text().splitlines()] == before


RECORDED = Path(__file__).parents[2] / "results" / "tiny-gpt-oss-cpu-565804ad"


def test_records_of_schema_1() -> None:
    """A sweep that was recorded before there were runners and variants."""
    assert json.loads((RECORDED / SWEEP_FILE).read_text())["schema_version"] == 1
    scan = scan_sweep(RECORDED)
    assert (scan.damaged, len(scan.trials), len(scan.ok)) == ((), 18, 18)
    assert {(trial.schema_version, trial.runner, trial.variant) for trial in scan.trials} == {(2, "triton", "default")}
    assert {trial.duration_s for trial in scan.trials} == {None}
    assert [variant.name for variant in scan.sweep.plan.variants] == ["default"]
    assert (scan.sweep.plan.strategy, scan.sweep.plan.repeats) == ("grid", 3)
    assert {trial.point for trial in scan.trials} == set(scan.sweep.plan.points)


def test_a_damaged_sweep_of_schema_1(tmp_path: Path) -> None:
    folder = tmp_path / RECORDED.name
    shutil.copytree(RECORDED, folder)
    rewrite(folder / SWEEP_FILE, plan=[])
    with pytest.raises(RecordError, match=r"sweep\.json: not a whole SweepRecord record"):
        scan_sweep(folder)
