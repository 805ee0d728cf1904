from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench.trtllm.argv import BenchPoint, PointFiles, bench_argv
from toolkit.errors import PlanError
from toolkit.trtllm.flags import check_flags

FILES = PointFiles(Path("/out/r1"))
ARGS: dict[str, Any] = {
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 1,
    "moe_expert_parallel_size": 2,
    "max_batch_size": 512,
    "max_num_tokens": 20000,
    "max_seq_len": 2304,
    "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.85},
}
POINT = BenchPoint(
    model="openai/gpt-oss-120b",
    model_dir=Path("/b/checkpoint"),
    args_file=Path("/b/llm_args.yaml"),
    args=ARGS,
    dataset=Path("/d.jsonl"),
    requests=640,
    concurrency=64,
)
GOLDEN = (
    *("trtllm-bench", "--model", "openai/gpt-oss-120b", "--model_path", "/b/checkpoint", "throughput"),
    *("--backend", "pytorch", "--extra_llm_api_options", "/b/llm_args.yaml", "--dataset", "/d.jsonl"),
    *("--tp", "2", "--pp", "1", "--ep", "2"),
    *("--max_batch_size", "512", "--max_num_tokens", "20000", "--max_seq_len", "2304"),
    *("--kv_cache_free_gpu_mem_fraction", "0.85"),
    *("--concurrency", "64", "--num_requests", "640", "--warmup", "128", "--eos_id", "-1"),
    *("--report_json", "/out/r1/report.json", "--request_json", "/out/r1/requests.json"),
)


@pytest.mark.parametrize("release", ["1.0.0", "1.1.0", "1.2.0", "1.2.1", "1.3.0rc0", "1.3.0rc20", "1.3.0rc21"])
def test_every_release(release: str) -> None:
    assert bench_argv(release, POINT, FILES) == (*GOLDEN, "--streaming")
    assert check_flags("trtllm-bench", release, GOLDEN) == ()


def test_without_streaming() -> None:
    assert bench_argv("1.2.1", replace(POINT, streaming=False), FILES) == GOLDEN


def test_only_what_is_asked_for() -> None:
    point = replace(POINT, args={"max_batch_size": 8, "max_num_tokens": 64}, warmup=300, concurrency=1, requests=1)
    assert bench_argv("1.2.1", point, FILES) == (
        *GOLDEN[:12],
        *("--max_batch_size", "8", "--max_num_tokens", "64"),
        *("--concurrency", "1", "--num_requests", "1", "--warmup", "300", "--eos_id", "-1"),
        *GOLDEN[-4:],
        "--streaming",
    )


@pytest.mark.parametrize("model", ["/b/checkpoint", "./m", "a/b/c", "", ".", "..", "a b", "m/", "here", "of/ten", "-m"])
def test_a_model_that_is_a_path(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").touch()
    (tmp_path / "of" / "ten").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match=r"^trtllm-bench: --model '.*' is a path, or no name. Give a Hub name"):
        bench_argv("1.2.1", replace(POINT, model=model), FILES)


@pytest.mark.parametrize("name", ["max_batch_size", "max_num_tokens"])
@pytest.mark.parametrize("value", [None, 0, "64", True])
def test_limits_are_never_left_to_the_heuristic(name: str, value: object) -> None:
    with pytest.raises(PlanError, match=f"set no {name}.*Set {name} in the LLM arguments"):
        bench_argv("1.2.1", replace(POINT, args=ARGS | {name: value}), FILES)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (replace(POINT, warmup=127), "127 warm-up requests do not fill concurrency 64. Give 128 or more"),
        (replace(POINT, concurrency=0), "640 requests at concurrency 0. Give a concurrency of 1 or more"),
        (replace(POINT, requests=63), "63 requests at concurrency 64. Give a concurrency of 1 or more"),
    ],
)
def test_counts(point: BenchPoint, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        bench_argv("1.2.1", point, FILES)
    assert str(caught.value).startswith(f"trtllm-bench: {message}")


def test_an_unknown_release() -> None:
    with pytest.raises(PlanError, match="is not the name of a TensorRT-LLM release"):
        bench_argv("latest", POINT, FILES)


def test_files() -> None:
    assert [path.name for path in FILES.all] == ["report.json", "requests.json", "stdout.log", "stderr.log"]
