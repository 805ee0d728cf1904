"""Sweeps through the stand-in trtllm-bench. No number of it was measured."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.made_up import made_up_environment, small_recipe
from tests.bench.trtllm.fake import QUICK, RELEASE, SCRIPT
from toolkit.bench import run as run_module
from toolkit.bench.events import Answered, Event
from toolkit.bench.hardware import Hardware
from toolkit.bench.records import TRIAL_FILE, scan_sweep
from toolkit.bench.report import read_sweeps
from toolkit.bench.run import SweepResult, run_sweep
from toolkit.bench.runners.trtllm_bench import SCRATCH, TrtllmBenchRunner
from toolkit.bench.summary import summarize
from toolkit.errors import EngineError
from toolkit.recipe import Recipe

ARGS = b"max_batch_size: 4\nmax_num_tokens: 512\ntensor_parallel_size: 2\n"
TARGET = (
    "target.runtime=tensorrt-llm",
    f"target.release={RELEASE}",
    "target.gpu=b200",
    "target.parallel={tp: 2}",
    "bench.runner=trtllm-bench",
    "bench.warmup=2",
    "bench.osl=[28]",
)


@pytest.fixture(autouse=True)
def _a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in needs none, and this machine may have none."""
    monkeypatch.setattr(run_module, "hardware_of", lambda recipe: Hardware(made_up_environment("GPU made-up"), ()))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return small_recipe(tmp_path, TARGET, llm_args__yaml=ARGS)


def run(
    recipe: Recipe,
    tmp_path: Path,
    wrong: str = "Nothing",
    on_event: Callable[[Event], None] = lambda event: None,
) -> SweepResult:
    (tmp_path / "bin").mkdir(exist_ok=True)
    link = tmp_path / "bin" / "trtllm-bench"
    if not link.exists():
        link.symlink_to(SCRIPT)
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "FAKE_TRTLLM_BENCH": wrong}
    runner = TrtllmBenchRunner(tmp_path, replace(QUICK, stall_s=1.0), env)
    return run_sweep(recipe, argv=["trtkit", "bench", "run"], on_event=on_event, runner=runner)


def test_a_sweep(recipe: Recipe, tmp_path: Path) -> None:
    result = run(recipe, tmp_path)
    assert [(trial.status, trial.error) for trial in result.trials] == [("ok", None)] * 2
    assert not (tmp_path / SCRATCH).exists()
    scan = scan_sweep(result.folder)
    assert (scan.damaged, len(scan.trials)) == ((), 2)
    for trial in scan.trials:
        folder = result.folder / "trials" / trial.trial_id
        assert {path.name for path in folder.iterdir()} == {*trial.evidence, TRIAL_FILE}
        assert set(trial.evidence) == {
            "requests.jsonl.gz",
            "report.json",
            "stdout.log",
            "stderr.log",
            "extra_llm_api.yaml",
            "telemetry.csv.gz",
        }
        assert (folder / "extra_llm_api.yaml").read_bytes() == ARGS
        assert trial.metrics is not None
        report = json.loads((folder / "report.json").read_text())
        assert trial.metrics.system_output_throughput_tok_s == pytest.approx(
            report["performance"]["system_output_throughput_tok_s"]
        )
        assert (trial.metrics.num_requests, trial.metrics.avg_output_length_tok) == (4, 28.0)
        requests = [json.loads(line) for line in gzip.decompress((folder / "requests.jsonl.gz").read_bytes()).split()]
        assert [request["prompt_tokens"] for request in requests] == [4] * 4
        line = " ".join(trial.command)
        assert line.startswith("trtllm-bench --model small --model_path checkpoint throughput --backend pytorch ")
        assert f"--concurrency {trial.point.concurrency} " in line
        assert f"--warmup {2 * trial.point.concurrency} " in line
        assert str(tmp_path) not in (folder / TRIAL_FILE).read_text()
    (table,) = summarize(read_sweeps(result.folder)).tables
    assert (table.runner, len(table.rows)) == ("trtllm-bench", 2)
    assert run(recipe, tmp_path).skipped == 2


@pytest.mark.parametrize(
    ("wrong", "status", "reason"),
    [
        ("Hang", "stalled", "no progress for 1 s at 2 of 4 requests"),
        ("CudaOutOfMemory", "oom", "out of memory"),
        ("KilledForMemory", "oom", "as when memory runs out"),
        ("ReportThenFail", "failed", "exit code 1 after its report"),
        ("SilentEnd", "failed", "exit code 0 without a report"),
        ("NaNThroughput", "invalid", ""),
        ("ShortOutputs", "invalid", "mean OSL is"),
    ],
)
def test_what_goes_wrong_is_recorded(recipe: Recipe, tmp_path: Path, wrong: str, status: str, reason: str) -> None:
    recipe = recipe.model_copy(update={"bench": recipe.bench.model_copy(update={"concurrency": (2,)})})
    result = run(recipe, tmp_path, wrong)
    scan = scan_sweep(result.folder)
    (trial,) = scan.trials
    assert (trial.status, trial.metrics, result.stopped, result.ok, scan.damaged) == (status, None, None, False, ())
    assert reason in trial.reason
    assert {"stdout.log", "stderr.log"} <= set(trial.evidence)


def test_an_interrupted_trial_is_kept_and_ends_the_sweep(recipe: Recipe, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Answered):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path, on_event=interrupt)
    folder = next(recipe.bench.output.iterdir())
    (trial,) = scan_sweep(folder).trials
    assert (trial.status, trial.metrics) == ("interrupted", None)
    again = run(recipe, tmp_path)
    assert (again.skipped, [one.status for one in again.trials]) == (0, ["ok", "ok"])
    assert sorted(one.attempt for one in again.trials) == [1, 2]


def test_a_changed_report_is_damaged(recipe: Recipe, tmp_path: Path) -> None:
    result = run(recipe, tmp_path)
    folder = result.folder / "trials" / result.trials[0].trial_id
    report = (folder / "report.json").read_bytes()
    (folder / "report.json").write_bytes(report + b" ")
    (error,) = scan_sweep(result.folder).damaged
    assert error.what == "its SHA-256 is not the one in trial.json"
    (folder / "report.json").write_bytes(report)
    document = json.loads((folder / TRIAL_FILE).read_text())
    document["metrics"]["system_output_throughput_tok_s"] *= 2
    (folder / TRIAL_FILE).write_text(json.dumps(document))
    (error,) = scan_sweep(result.folder).damaged
    assert error.what == "its metrics are not those of its requests"


def test_without_the_command(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"trtllm-bench is not in PATH\. Run it in a TensorRT-LLM container"):
        run_sweep(recipe, runner=TrtllmBenchRunner(tmp_path, QUICK, {"PATH": str(tmp_path)}))
    assert scan_sweep(next(recipe.bench.output.iterdir())).trials == ()


def test_a_compiled_engine_is_not_measured(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, TARGET)
    with pytest.raises(EngineError, match="trtllm-bench is run on the PyTorch backend only"):
        run(recipe, tmp_path)
