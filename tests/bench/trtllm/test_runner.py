"""The runner against a stand-in executable that fails in every documented way."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.trtllm.fake import OSL, QUICK, REQUESTS, Bench, make_bench
from toolkit.bench.trtllm.logs import BoundedLog, Progress
from toolkit.bench.trtllm.outcome import Expected, Outcome
from toolkit.bench.trtllm.runner import run_point
from toolkit.errors import RecordError

ROOT = Path(__file__).parents[3]
SHORT = replace(QUICK, stall_s=0.6, grace_s=0.3)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def worker_of(outcome: Outcome) -> int:
    line = next(line for line in outcome.files.stdout.read_text().splitlines() if line.startswith("worker "))
    return int(line.split()[1])


def test_success(bench: Bench) -> None:
    seen: list[Progress] = []
    outcome = bench.run(on_progress=seen.append)
    assert (outcome.status, outcome.reason, outcome.exit_code) == ("ok", "", 0)
    assert outcome.ok
    assert (outcome.outlived, outcome.left) == (0, ())
    report = outcome.measurement
    assert report is not None
    # two requests in flight, 20 and 21 ms to the first token, 2 ms for each of 27 more: 74 and 75 ms, four times
    assert report.performance.total_latency_ms == pytest.approx(300)
    assert report.performance.avg_request_latency_ms == pytest.approx(74.5)
    assert report.performance.system_output_throughput_tok_s == pytest.approx(8 * 28 / 0.3)
    assert report.performance.output_throughput_per_gpu_tok_s == pytest.approx(8 * 28 / 0.3 / 2)
    assert report.streaming is not None
    assert (report.streaming.avg_ttft_ms, report.streaming.avg_tpot_ms) == (pytest.approx(20.5), pytest.approx(2))
    assert (report.source, report.generation, report.missing) == ("report-json", "json-machine", ())
    assert all(check.holds for check in report.checks)
    assert outcome.requests is not None
    assert [request.ttft_ns for request in outcome.requests] == [20_000_000, 21_000_000] * 4
    assert outcome.progress == seen[-1] == Progress(REQUESTS, REQUESTS)
    assert json.loads(outcome.files.report.read_text())["request_info"]["num_requests"] == REQUESTS


@pytest.mark.parametrize(
    ("wrong", "status", "exit_code", "reason"),
    [
        ("Interrupted", "no_report", 0, "exit code 0 without a report: interrupted, or out of memory: .*interrupt"),
        ("SilentEnd", "no_report", 0, "exit code 0 without a report: interrupted, or out of memory: .*Starting bench"),
        ("KilledForMemory", "oom", -signal.SIGKILL, "ended by SIGKILL, as when memory runs out: .*Starting benchmark"),
        ("CudaOutOfMemory", "oom", 1, "exit code 1, out of memory: torch.OutOfMemoryError: CUDA out of memory"),
        ("RequestErrors", "failed", 1, "exit code 1: ValueError: Requests failed: The prompt is .* \\(3 requests\\)$"),
        ("ReportThenFail", "failed", 1, "exit code 1 after its report: RuntimeError: Executor worker returned error"),
        ("NaNThroughput", "invalid", 0, "no performance.system_output_throughput_tok_s .*throughput_tok_s is NaN"),
        ("ZeroRequests", "invalid", 0, "0 requests were measured, 8 asked for$"),
        ("ShortOutputs", "invalid", 0, "mean OSL is 7 tokens, 28 asked for$"),
        ("Fewer", "invalid", 0, "7 requests were measured, 8 asked for$"),
        ("FailedRequest", "invalid", 0, "1 of 8 requests failed$"),
        ("Contradiction", "invalid", 0, "the report contradicts itself: output tok/s = output tok/s/GPU · GPUs: "),
        ("CutReport", "invalid", 0, "report.json: the JSON is cut$"),
    ],
)
def test_failures(bench: Bench, wrong: str, status: str, exit_code: int, reason: str) -> None:
    outcome = bench.run(wrong)
    assert (outcome.status, outcome.exit_code) == (status, exit_code)
    assert not outcome.ok
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(outcome.reason)
    assert "\n" not in outcome.reason
    assert outcome.files.stderr.stat().st_size > 0  # the evidence stays


@pytest.mark.parametrize("wrong", ["ReportThenFail", "ShortOutputs", "Contradiction"])
def test_what_was_measured_stays_when_it_is_not_valid(bench: Bench, wrong: str) -> None:
    report = bench.run(wrong).measurement
    assert report is not None
    assert report.request_info.num_requests == REQUESTS


def test_nan_where_nothing_depends_on_it_is_noted(bench: Bench) -> None:
    outcome = bench.run("NaN")
    assert outcome.ok
    assert outcome.measurement is not None
    assert outcome.measurement.notes == ("streaming.avg_tpot_ms is NaN",)


def test_a_release_that_writes_no_json_is_read_from_its_output(bench: Bench) -> None:
    outcome = bench.run("NoJson")
    assert outcome.ok
    assert outcome.measurement is not None
    assert (outcome.measurement.source, outcome.measurement.generation) == ("console", "v2-machine")
    assert outcome.measurement.request_info.avg_output_length_tok == OSL


@pytest.mark.parametrize("wrong", ["Hang", "HangChatty", "Stubborn"])
def test_no_progress(bench: Bench, wrong: str) -> None:
    outcome = bench.run(wrong, limits=SHORT)
    assert outcome.status == "stalled"
    assert outcome.reason.startswith("no progress for 0.6 s at 4 of 8 requests: ")
    assert outcome.exit_code == (-signal.SIGKILL if wrong == "Stubborn" else -signal.SIGTERM)
    assert outcome.progress == Progress(4, 8)


def test_nothing_from_the_start(bench: Bench) -> None:
    limits = replace(QUICK, silence_s=0.3)
    outcome = bench.run("HangLoading", limits=limits)
    assert (outcome.status, outcome.reason) == ("stalled", "no progress for 0.3 s")


def test_a_slow_start_that_prints_is_alive(bench: Bench) -> None:
    """1.2 s of loading with a line every 0.2 s."""
    limits = replace(QUICK, silence_s=1.0)
    assert bench.run("SlowStart", limits=limits).ok


def test_wall_clock(bench: Bench) -> None:
    """It makes progress all the time."""
    limits = replace(QUICK, wall_s=0.5)
    outcome = bench.run(limits=limits, FAKE_REQUEST_S="0.2")
    assert outcome.status == "timeout"
    assert outcome.reason.startswith("not done after 0.5 s")


@pytest.mark.parametrize("wrong", ["Outlived", "OutlivedElsewhere"])
def test_workers_that_outlive_it_are_ended(bench: Bench, wrong: str) -> None:
    """They hold its pipes, ignore SIGTERM, and one is in a session of its own."""
    outcome = bench.run(wrong, limits=replace(QUICK, grace_s=0.3))
    assert (outcome.status, outcome.outlived, outcome.left) == ("ok", 1, ())
    assert not is_alive(worker_of(outcome))


def test_workers_of_one_that_hangs_are_ended(bench: Bench) -> None:
    outcome = bench.run("HangWithWorker", limits=SHORT)
    assert (outcome.status, outcome.left) == ("stalled", ())
    assert not is_alive(worker_of(outcome))


@pytest.mark.parametrize("wrong", ["Hang", "HangWithWorker"])
def test_ctrl_c_ends_everything(bench: Bench, wrong: str, ctrl_c: Callable[[], None]) -> None:
    def press(progress: Progress) -> None:
        if progress == Progress(4, 8):
            ctrl_c()

    outcome = bench.run(wrong, limits=replace(QUICK, grace_s=0.3), on_progress=press)
    assert (outcome.status, outcome.exit_code, outcome.left) == ("interrupted", -signal.SIGTERM, ())
    assert outcome.reason.startswith("interrupted from here: ")
    assert outcome.progress == Progress(4, 8)
    assert outcome.files.stdout.stat().st_size > 0
    if wrong == "HangWithWorker":
        assert not is_alive(worker_of(outcome))


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """Even where a shell started the tests with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_an_error_of_the_callback_ends_everything(bench: Bench) -> None:
    def fail(progress: Progress) -> None:
        raise RuntimeError("no display")

    with pytest.raises(RuntimeError, match="no display"):
        bench.run("Hang", on_progress=fail)
    assert running_in(bench.folder) == []


def test_a_full_disk_ends_everything(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(log: BoundedLog, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(BoundedLog, "write", full)
    with pytest.raises(OSError, match="No space left on device"):
        bench.run("Hang")
    assert running_in(bench.folder) == []


def test_it_ends_when_the_runner_is_killed(bench: Bench) -> None:
    """SIGKILL leaves the runner no chance: its guard ends the group."""
    code = (
        "import sys; from pathlib import Path; from tests.bench.trtllm.fake import Bench; import pickle;"
        "pickle.loads(bytes.fromhex(sys.argv[1])).run('Hang', on_progress=lambda p: print(p.done, flush=True))"
    )
    argv = [sys.executable, "-c", code, pickle.dumps(bench).hex()]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        assert int(runner.stdout.readline()) <= REQUESTS
        assert running_in(bench.folder) != []
        runner.kill()
    deadline = time.monotonic() + 30
    while running_in(bench.folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert running_in(bench.folder) == []


def running_in(folder: Path) -> list[str]:
    """Pids of stand-ins that were started for ``folder``; the names of their files are on their command line."""
    return [path.name for path in Path("/proc").glob("[0-9]*") if runs_in(path.name, folder)]


def runs_in(pid: str, folder: Path) -> bool:
    try:
        return str(folder).encode() in (Path("/proc") / pid / "cmdline").read_bytes() and int(pid) != os.getpid()
    except OSError:
        return False


def test_logs_are_bounded_and_keep_the_report(bench: Bench) -> None:
    """400 kB are printed before the report, 40 kB are kept."""
    limits = replace(QUICK, log_bytes=40_000)
    outcome = bench.run("Chatty", limits=limits)
    assert outcome.ok
    text = outcome.files.stdout.read_text()
    assert len(text.encode()) < 40_100
    assert text.startswith("000000 ")
    assert "bytes left out here]" in text
    assert "= PERFORMANCE OVERVIEW" in text


BAR = "print('Benchmarking:  12%|x| 1/8 [', file=sys.stderr, flush=True); "


def test_what_is_printed_last_is_kept(bench: Bench, tmp_path: Path) -> None:
    """It has printed and ended before anybody reads on after its bar."""
    pid, go = tmp_path / "pid", tmp_path / "go"
    code = f"import os, sys, time; open({str(pid)!r}, 'w').write(str(os.getpid())); {BAR}"
    code += f"[time.sleep(0.01) for _ in iter(lambda: os.path.exists({str(go)!r}), True)]; print('last words')"

    def let_it_end(progress: Progress) -> None:
        go.touch()
        while is_alive(int(pid.read_text())):
            time.sleep(0.01)

    argv = [sys.executable, "-c", code]
    run_point(argv, bench.files, Expected(1, 1, 1), limits=QUICK, on_progress=let_it_end)
    assert bench.files.stdout.read_text() == "last words\n"


def test_a_report_that_grows_is_progress(bench: Bench) -> None:
    """1.2 s between two bars, in which only the file gets longer."""
    write = f"[(open({str(bench.files.report)!r}, 'a').write('x'), time.sleep(0.2)) for _ in range(6)]"
    argv = [sys.executable, "-c", f"import sys, time; {BAR} {write}; sys.exit(3)"]
    outcome = run_point(argv, bench.files, Expected(1, 1, 1), limits=SHORT)
    assert (outcome.status, outcome.exit_code) == ("failed", 3)


def test_usage_error(bench: Bench) -> None:
    argv = [*bench.argv, "--no_such_flag"]
    outcome = run_point(argv, bench.files, Expected(1, 1, 1), limits=QUICK, env=bench.env("Nothing", {}))
    assert (outcome.status, outcome.exit_code) == ("failed", 2)
    assert outcome.reason.startswith("exit code 2: trtllm-bench: error: unrecognized arguments: --no_such_flag")


def test_no_such_command(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bin" / "trtllm-bench").unlink()
    outcome = run_point(bench.argv, bench.files, Expected(1, 1, 1), env={"PATH": str(tmp_path / "bin")})
    assert (outcome.status, outcome.exit_code) == ("failed", None)
    assert outcome.reason == "cannot start trtllm-bench: No such file or directory"


def test_nothing_is_overwritten(bench: Bench) -> None:
    bench.files.folder.mkdir()
    bench.files.report.write_text("{}")
    with pytest.raises(RecordError, match=r"run: report.json is there already. Give each run a folder of its own"):
        bench.run()
    assert [path.name for path in bench.files.folder.iterdir()] == ["report.json"]
