from __future__ import annotations

from typing import Any

import pytest

from toolkit.errors import PlanError
from toolkit.trtllm import commands
from toolkit.trtllm.flags import check_flags

RELEASES = ("1.0.0", "1.1.0", "1.2.0", "1.2.1", "1.3.0rc0", "1.3.0rc20", "1.3.0rc21", "1.4.0rc1")
LLM_ARGS: dict[str, Any] = {
    "backend": "pytorch",
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 1,
    "moe_expert_parallel_size": 2,
    "max_batch_size": 512,
    "max_num_tokens": 20000,
    "max_seq_len": 2304,
    "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.85},
}


@pytest.mark.parametrize(
    ("release", "flag"),
    [("1.0.0", "--extra_llm_api_options"), ("1.1.0", "--extra_llm_api_options"), ("1.2.0", "--config")]
    + [(release, "--config") for release in ("1.2.1", "1.3.0rc20", "1.3.0rc21", "1.4.0rc1")],
)
def test_serve(release: str, flag: str) -> None:
    line = commands.serve(release, "/b/checkpoint", "/b/llm_args.yaml", tokenizer="/b/tok", host="0.0.0.0", port=8000)
    assert line == [
        *("trtllm-serve", "/b/checkpoint", "--tokenizer", "/b/tok", "--host", "0.0.0.0", "--port", "8000"),
        *(flag, "/b/llm_args.yaml"),
    ]


def test_serve_with_nothing_more() -> None:
    assert commands.serve("1.2.1", "m", "a.yaml") == ["trtllm-serve", "m", "--config", "a.yaml"]


@pytest.mark.parametrize("release", RELEASES)
def test_bench_is_the_same_in_every_release(release: str) -> None:
    line = commands.bench(
        release,
        "openai/gpt-oss-120b",
        "/b/checkpoint",
        "/b/llm_args.yaml",
        "/d.jsonl",
        args=LLM_ARGS,
        concurrency=64,
        num_requests=640,
        warmup=128,
        report_json="/r.json",
        request_json="/q.json",
    )
    assert line == [
        *("trtllm-bench", "--model", "openai/gpt-oss-120b", "--model_path", "/b/checkpoint", "throughput"),
        *("--backend", "pytorch", "--extra_llm_api_options", "/b/llm_args.yaml", "--dataset", "/d.jsonl"),
        *("--tp", "2", "--pp", "1", "--ep", "2"),
        *("--max_batch_size", "512", "--max_num_tokens", "20000", "--max_seq_len", "2304"),
        *("--kv_cache_free_gpu_mem_fraction", "0.85"),
        *("--concurrency", "64", "--num_requests", "640", "--warmup", "128"),
        *("--report_json", "/r.json", "--request_json", "/q.json", "--streaming"),
    ]


def test_bench_writes_only_what_the_arguments_hold() -> None:
    assert commands.bench("1.2.1", "o/m", "d", "a.yaml", "s", args={}, streaming=False) == [
        *("trtllm-bench", "--model", "o/m", "--model_path", "d", "throughput"),
        *("--backend", "pytorch", "--extra_llm_api_options", "a.yaml", "--dataset", "s"),
    ]


@pytest.mark.parametrize("release", ["1.0.0", "1.1.0"])
def test_prepare_dataset_before_the_subcommand(release: str) -> None:
    command = commands.prepare_dataset(release, "o/m", "d set.jsonl", requests=3000, isl=1024, osl=128)
    assert command.argv == (
        *("python3", "benchmarks/cpp/prepare_dataset.py", "--tokenizer", "o/m", "--random-seed", "420", "--stdout"),
        *("token-norm-dist", "--num-requests", "3000", "--input-mean", "1024", "--output-mean", "128"),
        *("--input-stdev", "0", "--output-stdev", "0"),
    )
    assert command.shell.endswith(" --output-stdev 0 > 'd set.jsonl'")


@pytest.mark.parametrize("release", ["1.2.0", "1.2.1", "1.3.0rc21", "1.4.0rc1"])
def test_prepare_dataset_as_subcommand(release: str) -> None:
    command = commands.prepare_dataset(release, "o/m", "d.jsonl", requests=3000, isl=1024, osl=128, seed=7)
    assert command.argv == (
        *("trtllm-bench", "--model", "o/m", "prepare-dataset", "--output", "d.jsonl", "--random-seed", "7"),
        *("token-norm-dist", "--num-requests", "3000", "--input-mean", "1024", "--output-mean", "128"),
        *("--input-stdev", "0", "--output-stdev", "0"),
    )
    assert command.shell == " ".join(command.argv)
    assert check_flags("trtllm-bench", release, command.argv) == ()


@pytest.mark.parametrize("release", ["1.0.0", "1.2.0", "1.2.1"])
def test_prepare_dataset_of_a_folder_is_the_script(release: str) -> None:
    command = commands.prepare_dataset(release, "/b/checkpoint", "d.jsonl", requests=1, isl=2, osl=3, is_folder=True)
    assert command.argv[:4] == ("python3", "benchmarks/cpp/prepare_dataset.py", "--tokenizer", "/b/checkpoint")
    assert commands.dataset_takes_folder(release)


@pytest.mark.parametrize("release", ["1.3.0rc0", "1.3.0rc21", "1.4.0rc1"])
def test_prepare_dataset_takes_no_folder_where_the_script_is_not_documented(release: str) -> None:
    assert not commands.dataset_takes_folder(release)
    with pytest.raises(
        PlanError, match=rf"^trtllm-bench prepare-dataset: the tool of {release} takes a Hub repository"
    ):
        commands.prepare_dataset(release, "/b/checkpoint", "d.jsonl", requests=1, isl=2, osl=3, is_folder=True)


@pytest.mark.parametrize("release", ["1.0.0", "1.1.0", "1.2.1", "1.3.0rc20"])
def test_build(release: str) -> None:
    line = commands.build(
        release,
        "/c",
        "/e",
        max_batch_size=64,
        max_num_tokens=8192,
        max_input_len=1024,
        max_seq_len=2048,
        gemm_plugin="nvfp4",
    )
    assert line == [
        *("trtllm-build", "--checkpoint_dir", "/c", "--output_dir", "/e", "--max_batch_size", "64"),
        *("--max_num_tokens", "8192", "--max_input_len", "1024", "--max_seq_len", "2048", "--gemm_plugin", "nvfp4"),
    ]


@pytest.mark.parametrize("release", ["1.3.0rc21", "1.4.0rc1"])
def test_no_build_after_the_removal(release: str) -> None:
    with pytest.raises(PlanError, match=rf"^trtllm-build: TensorRT-LLM {release} no longer has trtllm-build"):
        commands.build(release, "/c", "/e")


def test_triton_model_yaml() -> None:
    args = {"backend": "pytorch", "tensor_parallel_size": 2, "kv_cache_config": {"dtype": "fp8"}}
    assert commands.triton_model_yaml(args, model="/b/checkpoint", decoupled=False) == {
        "model": "/b/checkpoint",
        "backend": "pytorch",
        "tensor_parallel_size": 2,
        "kv_cache_config": {"dtype": "fp8"},
        "triton_config": {"max_batch_size": 0, "decoupled": False},
    }
