from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.made_up import made_up_environment, small_recipe
from tests.bench.runners.engines import Engines
from toolkit.bench.bundles import open_bundles
from toolkit.bench.evidence import read_requests
from toolkit.bench.records import scan_sweep
from toolkit.bench.request import RequestRecord
from toolkit.bench.run import SweepResult, run_sweep, runner_of
from toolkit.bench.sweep import outline, plan_sweep
from toolkit.bench.trial import REQUESTS_FILE
from toolkit.errors import RecipeError

VALUES = ("bench.runner=engine", "bench.repeats=1")


def run(folder: Path, *overrides: str) -> SweepResult:
    recipe = small_recipe(folder, [*VALUES, *overrides])
    result = run_sweep(recipe, runner=Engines().runner)
    assert scan_sweep(result.folder).damaged == ()
    return result


def lengths(result: SweepResult) -> list[tuple[int, int]]:
    folder = result.folder / "trials" / result.trials[0].trial_id
    requests = read_requests(folder / REQUESTS_FILE, RequestRecord)
    return [(one.prompt_tokens, one.output_tokens) for one in sorted(requests, key=lambda one: one.id)]


def test_lengths_that_are_drawn_are_checked_one_by_one(tmp_path: Path) -> None:
    values = ("bench.workload={kind: uniform, ratio: 0.5}", "bench.isl=[8]", "bench.osl=[6]", "bench.requests=8")
    result = run(tmp_path, *values, "bench.concurrency=[2]")
    (trial,) = result.trials
    assert trial.status == "ok", trial.reason
    assert {check.name for check in trial.conditions} >= {"input_lengths", "output_lengths"}
    assert not any(check.name.startswith(("isl_", "osl_")) for check in trial.checks)
    found = lengths(result)
    assert len(set(found)) > 2
    assert all(4 <= isl <= 8 and 3 <= osl <= 6 for isl, osl in found)


def test_a_trace_has_its_own_lengths_and_the_sweep_knows_its_bytes(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    asked = [(3, 2), (5, 4), (2, 1), (4, 3)]
    lines = [{"input_ids": list(range(isl)), "output_tokens": osl} for isl, osl in asked]
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    workload = f"bench.workload={{kind: trace, trace: {trace}}}"
    recipe = small_recipe(tmp_path, [*VALUES, workload, "bench.concurrency=[1]"])
    result = run_sweep(recipe, runner=Engines().runner)
    (trial,) = result.trials
    assert (trial.status, trial.point.isl, trial.point.osl) == ("ok", 0, 0)
    assert lengths(result) == asked
    assert str(tmp_path) not in (result.folder / "sweep.json").read_text()
    bundles = open_bundles(outline(recipe).variants)
    before = plan_sweep(recipe, bundles, made_up_environment("CPU")).record
    trace.write_text(trace.read_text().replace('"output_tokens": 4', '"output_tokens": 5'))
    assert plan_sweep(recipe, bundles, made_up_environment("CPU")).record != before


def test_an_open_loop_is_a_grid_of_rates(tmp_path: Path) -> None:
    result = run(tmp_path, "bench.arrival={kind: constant, rate: [500, 1000]}", "bench.requests=5")
    assert [trial.status for trial in result.trials] == ["ok", "ok"], [trial.reason for trial in result.trials]
    assert sorted((trial.point.concurrency, trial.point.rate) for trial in result.trials) == [(0, 500.0), (0, 1000.0)]
    assert {check.name for check in result.trials[0].conditions} >= {"sent_on_time"}
    assert len({trial.point_id for trial in result.trials}) == 2


@pytest.mark.parametrize("strategy", ["frontier", "ladder"])
def test_no_planner_climbs_rates(tmp_path: Path, strategy: str) -> None:
    values = [f"bench.strategy={strategy}", "bench.arrival={kind: poisson, rate: [1, 2, 3, 4]}"]
    with pytest.raises(RecipeError, match="climbs concurrencies, and an open loop has none"):
        outline(small_recipe(tmp_path, values))


def test_trtllm_bench_has_no_open_loop(tmp_path: Path) -> None:
    values = ["target={runtime: tensorrt-llm, release: 1.2.1, gpu: b200}", "bench.runner=trtllm-bench"]
    recipe = small_recipe(tmp_path, [*values, "bench.arrival={kind: poisson, rate: [1]}"])
    with pytest.raises(RecipeError, match="trtllm-bench sends requests in a closed loop only"):
        runner_of(recipe, None)
