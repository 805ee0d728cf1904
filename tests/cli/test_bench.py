from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.bench.made_up import FakeClient, add_trial, fill, made_up_sweep, refuse, small_recipe
from toolkit.bench import run as run_module
from toolkit.bench.events import Event, Started
from toolkit.bench.grid import Point
from toolkit.bench.records import scan_sweep
from toolkit.bench.run import SweepResult
from toolkit.bench.runners import triton as triton_runner
from toolkit.bench.runners.triton import TritonRunner
from toolkit.bench.watch import Endpoint, unwatched
from toolkit.cli import main
from toolkit.engine.bundle import Bundle
from toolkit.errors import TrtkitError
from toolkit.recipe import Recipe
from toolkit.serving import server, triton
from toolkit.serving.client import Chunk, TritonClient
from toolkit.serving.server import Server


def trtkit(*args: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, args)])


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)
    return small_recipe(tmp_path)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """What every run in the test is measured through; no server is started."""
    fake = FakeClient()

    @contextmanager
    def serve(*args: object) -> Iterator[Endpoint]:
        yield unwatched("127.0.0.1:1")

    def runner_of(recipe: Recipe, url: str | None) -> TritonRunner:
        return TritonRunner(url, serve, lambda url, model: fake)

    monkeypatch.setattr(run_module, "runner_of", runner_of)
    return fake


def sweep_folder(recipe: Recipe) -> Path:
    return next(recipe.bench.output.iterdir())


def test_dry_run(recipe: Recipe) -> None:
    result = trtkit("run", "recipe.yaml", "--dry-run", "--set", "bench.output=out", "--set", "bench.warmup=2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == """\
small: 2 trials, 8 measured requests, runner triton, records under out
  trial    ISL    OSL  concurrency  requests  warm-up  repeat  point
      1      4      3            1         4        2       1  c661b19450
      2      4      3            2         4        4       1  6a6351ab6c
"""
    )
    assert not Path("out").exists()


def test_dry_run_as_json_needs_no_bundle(recipe: Recipe) -> None:
    result = trtkit(
        "run", "recipe.yaml", "--dry-run", "--json", "--set", "bench.concurrency=[1]", "--set", "engine.output=absent"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    point = {"isl": 4, "osl": 3, "concurrency": 1, "requests": 4, "warmup": 1, "repeat": 1}
    assert json.loads(result.stdout) == {
        "recipe": "small",
        "output": str(recipe.bench.output),
        "runner": "triton",
        "strategy": "grid",
        "repeats": 1,
        "trials": [{"point_id": "75944f20e9", **point, "variant": "default", "rate": None}],
    }


def test_dry_run_shows_every_command_line() -> None:
    result = trtkit("run", "gpt-oss-120b/b200", "--dry-run", "--set", "bench.runner=trtllm-bench")
    assert (result.exit_code, result.stderr) == (0, "")
    head, *rest = result.stdout.splitlines()
    assert head == (
        "gpt-oss-120b-b200: 5 points to choose from (frontier), 15000 measured requests, runner trtllm-bench, "
        "records under results/local"
    )
    lines = [line.split() for line in rest if line.startswith("trtllm-bench ")]
    assert len(lines) == 5
    values = [dict(zip(line[6::2], line[7::2], strict=False)) for line in lines]
    assert {(one["--concurrency"], one["--warmup"]) for one in values} == {
        (str(users), str(2 * users)) for users in (1, 8, 64, 256, 512)
    }
    assert {one["--num_requests"] for one in values} == {"3000"}
    assert {one["--max_batch_size"] for one in values} == {"512"}
    document = json.loads(
        trtkit("run", "gpt-oss-120b/b200", "--dry-run", "--json", "--set", "bench.runner=trtllm-bench").stdout
    )
    assert [trial["argv"] for trial in document["trials"]] == lines


def test_variants_have_a_column(recipe: Recipe) -> None:
    variants = "bench.variants=[{name: plain}, {name: w4a4, set: {engine.precision: w4a4}}]"
    result = trtkit("run", "recipe.yaml", "--dry-run", "--set", variants, "--set", "bench.strategy=grid")
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert rows[0][:2] == ["variant", "trial"]
    assert sorted((row[0], row[4]) for row in rows[1:]) == [
        (name, users) for name in ("plain", "w4a4") for users in "12"
    ]
    missing = trtkit("run", "recipe.yaml", "--set", variants)
    assert missing.exit_code == 1
    assert missing.stderr.endswith("there is no engine bundle. Type: trtkit bench run RECIPE --build\n")


def test_the_sample_in_three_precisions_by_one_command(tmp_path: Path) -> None:
    values = ["concurrency=[1]", "requests=2", "isl=[8]", "osl=[4]", "repeats=1", f"output={tmp_path}/results"]
    values = [f"engine.output={tmp_path}/built", *(f"bench.{value}" for value in values)]
    options = [part for value in values for part in ("--set", value)]
    result = trtkit("run", "tiny-gpt-oss/precisions", "--build", *options)
    assert result.exit_code == 0, result.stderr
    (folder,) = (tmp_path / "results").iterdir()
    scan = scan_sweep(folder)
    assert {trial.variant for trial in scan.ok} == {"dequantised", "w4a16", "w4a4"}
    assert {trial.runner for trial in scan.ok} == {"engine"}
    assert "--build" in scan.trials[0].argv


def test_the_index_is_written_anew(tmp_path: Path) -> None:
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    result = trtkit("index", folder)
    assert (result.exit_code, result.stdout) == (0, f"{folder}/index.jsonl: 4 trials\n")
    trial = folder / "trials" / scan_sweep(folder).trials[0].trial_id / "trial.json"
    trial.write_text("{")
    result = trtkit("index", folder)
    assert (result.exit_code, result.stdout) == (1, f"{folder}/index.jsonl: 3 trials\n")
    assert str(trial) in result.stderr


def test_run_and_resume(recipe: Recipe, client: FakeClient) -> None:
    result = trtkit("run", "recipe.yaml", "--set", "bench.seed=1")
    assert result.exit_code == 0, result.stderr
    folder = sweep_folder(recipe)
    assert result.stdout == f"{folder}\n0 finished before, 2 ok, 0 failed, 0 invalid\n"
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0] == f"{folder}: 0 of 2 trials are finished already"
    trials = [scan_sweep(folder).finished(point) for point in scan_sweep(folder).sweep.plan.points]
    for number, (line, trial) in enumerate(zip(lines[1:3], trials, strict=True), 1):
        assert trial is not None
        assert trial.metrics is not None
        point, speed = trial.point, f"{trial.metrics.system_output_throughput_tok_s:.1f} tok/s"
        assert line == f"{number}/2 ISL 4, OSL 3, concurrency {point.concurrency}, repeat 1: {speed}"
        assert trial.argv == ("trtkit", "bench", "run", "recipe.yaml", "--set", "bench.seed=1")

    again = trtkit("run", "recipe.yaml", "--set", "bench.seed=1")
    assert again.exit_code == 0
    assert again.stdout == f"{folder}\n2 finished before, 0 ok, 0 failed, 0 invalid\n"
    assert again.stderr == f"{folder}: 2 of 2 trials are finished already\n"


def test_run_as_json(recipe: Recipe, client: FakeClient) -> None:
    result = trtkit("run", "recipe.yaml", "--json", "--url", "elsewhere:9")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["folder"], document["skipped"], document["stopped"]) == (str(sweep_folder(recipe)), 0, None)
    scan = scan_sweep(sweep_folder(recipe))
    assert [trial["point"] for trial in document["trials"]] == scan.sweep.plan.model_dump(mode="json")["points"]
    assert {trial["status"] for trial in document["trials"]} == {"ok"}
    assert scan.sweep.plan.server == "elsewhere"
    assert scan.trials[0].argv == ("trtkit", "bench", "run", "recipe.yaml", "--url", "elsewhere:9")


def test_a_failed_trial_ends_with_exit_code_1(recipe: Recipe, client: FakeClient) -> None:
    client._fail = lambda number: refuse(number) if number == 0 else None
    result = trtkit("run", "recipe.yaml")
    assert result.exit_code == 1
    assert result.stdout == f"{sweep_folder(recipe)}\n0 finished before, 1 ok, 1 failed, 0 invalid\n"
    assert "failed: warm-up: generation 0 went wrong\n" in result.stderr


def test_a_dead_server_ends_the_sweep(recipe: Recipe, client: FakeClient) -> None:
    def die(number: int) -> None:
        client.alive = False
        refuse(number)

    client._fail = die
    result = trtkit("run", "recipe.yaml")
    assert result.exit_code == 1
    assert result.stdout == f"{sweep_folder(recipe)}\n0 finished before, 0 ok, 1 failed, 0 invalid\n"
    assert result.stderr.splitlines()[-1] == "error: the sweep stopped early: nothing is serving"


@pytest.mark.triton
def test_a_killed_model_process_ends_the_sweep(
    built: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        triton.find()
    except TrtkitError as error:
        pytest.skip(str(error))
    servers: list[Server] = []
    began: list[Point] = []

    class Killer(TritonClient):
        """Kills the model process while it streams the second trial's first answer."""

        async def generate(self, *prompt: Any, **options: Any) -> AsyncGenerator[Chunk, None]:
            async with aclosing(super().generate(*prompt, **options)) as chunks:
                async for chunk in chunks:
                    if len(began) == 2:
                        for pid in servers[0].model_pids:
                            os.kill(pid, signal.SIGKILL)
                    yield chunk

    def serve_bundle(recipe: Recipe, bundle: Bundle) -> Server:
        servers.append(server.serve_bundle(recipe, bundle))
        return servers[-1]

    def run_sweep(recipe: Recipe, *, url: str | None, on_event: Callable[[Event], None], **options: Any) -> SweepResult:
        def both(event: Event) -> None:
            on_event(event)
            if isinstance(event, Started):
                began.append(event.point)

        runner = TritonRunner(url, connect=lambda url, model: Killer(url, model=model))
        return original(recipe, url=url, on_event=both, runner=runner, **options)

    original = run_module.run_sweep
    monkeypatch.setattr(triton_runner, "serve_bundle", serve_bundle)
    monkeypatch.setattr(run_module, "run_sweep", run_sweep)
    result = trtkit("run", *built)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: the sweep stopped early: ")
    assert "Triton's model process died" in last or "Triton ended" in last or "Triton was killed" in last
    (folder,) = (tmp_path / "results").iterdir()
    assert result.stdout == f"{folder}\n0 finished before, 1 ok, 1 failed, 0 invalid\n"
    (failed,) = [trial for trial in scan_sweep(folder).trials if trial.status == "failed"]
    assert failed.point.repeat == 2
    assert str(tmp_path) not in failed.reason
    assert servers[0].model_pids == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(recipe: Recipe, client: FakeClient, number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    client._fail = lambda generation: signal.raise_signal(number)
    result = trtkit("run", "recipe.yaml")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) == before
    scan = scan_sweep(sweep_folder(recipe))
    assert (scan.trials, scan.damaged) == ((), ())


@pytest.fixture
def built(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of ``bench run`` for the sample, whose bundle is built: two trials of four requests."""
    bundle = tmp_path / "built"
    made = CliRunner().invoke(main, ["engine", "tiny-gpt-oss/cpu", "--set", f"engine.output={bundle}"])
    assert made.exit_code == 0, made.stderr
    bench = ["isl=[32]", "osl=[32]", "concurrency=[1]", "requests=4", "repeats=2"]
    values = [f"engine.output={bundle}", f"serve.repository={tmp_path}/repository", f"bench.output={tmp_path}/results"]
    values += [f"bench.{value}" for value in bench]
    return ("tiny-gpt-oss/cpu", *(part for value in values for part in ("--set", value)))


def test_a_damaged_bundle_is_not_measured(built: tuple[str, ...], client: FakeClient, tmp_path: Path) -> None:
    shard = next((tmp_path / "built" / "checkpoint").glob("*.safetensors"))
    with shard.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        (last,) = file.read()
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    result = trtkit("run", *built)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {tmp_path}/built: checkpoint/{shard.name} is not what was built. "
        f"Delete {tmp_path}/built and type: trtkit engine RECIPE\n"
    )
    assert client.prompts == []
    assert not (tmp_path / "results").exists()


def test_a_gpu_recipe_is_planned_without_a_gpu(recipe: Recipe) -> None:
    gpu = ("--set", "target.runtime=tensorrt-llm", "--set", "target.release=1.2.1", "--set", "target.gpu=b200")
    assert trtkit("run", "recipe.yaml", "--dry-run", *gpu).exit_code == 0
    result = trtkit("run", "recipe.yaml", *gpu)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it was built with another target.runtime than the recipe's" in result.stderr


TABLE = """\
CPU: Made-up CPU for tests, 2 cores, 8 GiB; streamed through Triton's gRPC endpoint
  ISL  OSL  concurrency  requests  trials  tok/s  tok/s/user  TTFT p50 ms  TTFT p99 ms  TPOT p50 ms  TPOT p99 ms
    4    3            1         4       1  46.88       46.88        40.00        40.00        12.00        12.00
    4    3            2         4       1  55.56       27.78        80.00        80.00        14.00        14.00
    4    5            1         4       1  56.82       56.82        40.00        40.00        12.00        12.00
    4    5            2         4       1  73.53       36.76        80.00        80.00        14.00        14.00
"""


def test_report(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    add_trial(folder, sweep, sweep.plan.points[0], ttft_ms=1, tpot_ms=1, attempt=2, status="invalid", metrics=None)
    result = trtkit("report", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        f"{tmp_path}/report.md\n{tmp_path}/pareto.svg\n\n{TABLE}\n"
        "1 trial(s) are not in the tables; the report says why\n"
    )
    assert (tmp_path / "report.md").is_file()


def test_report_as_json(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    folder, sweep, _ = made_up_sweep(tmp_path)
    fill(folder, sweep)
    document = json.loads(trtkit("report", folder, "--json").stdout)
    assert document["report"] == str(folder / "report.md")
    assert document["plot"] == str(folder / "pareto.svg")
    assert document["left_out"] == []
    (table,) = document["tables"]
    assert (table["hardware"], len(table["rows"]), table["runs"][0]["name"]) == ("CPU", 4, sweep.title)
    assert table["rows"][1]["ttft_p99_ms"] == 80.0


def test_the_folder_comes_from_the_recipe(recipe: Recipe) -> None:
    pytest.importorskip("altair")
    folder, sweep, _ = made_up_sweep(recipe.bench.output)
    fill(folder, sweep)
    result = trtkit("report", "recipe.yaml")
    assert result.stdout.startswith(f"{recipe.bench.output}/report.md\n")
    moved = trtkit("report", "recipe.yaml", "--set", "bench.output=absent")
    assert (moved.exit_code, moved.stdout) == (1, "")
    assert moved.stderr == "error: absent: there is no recorded trial. Type: trtkit bench run RECIPE\n"


def test_overrides_of_a_folder(tmp_path: Path) -> None:
    result = trtkit("report", tmp_path, "--set", "bench.output=elsewhere")
    assert result.exit_code == 2
    assert "--set goes with a recipe, not with a folder" in result.stderr
