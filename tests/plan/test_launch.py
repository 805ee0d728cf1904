from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from tests.models import layouts
from tests.plan.cases import (
    GPT_OSS_20B,
    GPT_OSS_120B,
    GPT_OSS_120B_NVFP4,
    LLAMA_8B,
    QWEN3_30B,
    census,
    plan_published,
    predicted,
    published,
    tiny,
)
from toolkit.plan import Plan, make_plan
from toolkit.plan.types import Launch
from toolkit.trtllm.commands import Command
from toolkit.trtllm.flags import check_flags

OUT = "engine.output=out"
SERVE = "trtllm-serve out/checkpoint"
SCRIPT = (
    f"python3 benchmarks/cpp/prepare_dataset.py --tokenizer {LLAMA_8B} --random-seed 420 --stdout token-norm-dist "
    "--num-requests 3000 --input-mean 1024 --output-mean 1024 --input-stdev 0 --output-stdev 0 "
    "> dataset-1024-1024.jsonl"
)
SUBCOMMAND = (
    f"trtllm-bench --model {LLAMA_8B} prepare-dataset --output dataset-1024-1024.jsonl --random-seed 420 "
    "token-norm-dist --num-requests 3000 --input-mean 1024 --output-mean 1024 --input-stdev 0 --output-stdev 0"
)
BENCH = (
    f"trtllm-bench --model {LLAMA_8B} --model_path out/checkpoint throughput --backend pytorch "
    "--extra_llm_api_options out/llm_args.yaml --dataset dataset-1024-1024.jsonl --tp 1 --pp 1 --ep 1 "
    "--max_batch_size 512 --max_num_tokens 20000 --max_seq_len 9216 --kv_cache_free_gpu_mem_fraction 0.85 "
    "--concurrency 512 --streaming"
)
LLM_ARGS = {
    "backend": "pytorch",
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "moe_expert_parallel_size": 1,
    "enable_attention_dp": False,
    "max_batch_size": 512,
    "max_num_tokens": 20000,
    "max_seq_len": 9216,
    "cuda_graph_config": {"enable_padding": True, "max_batch_size": 512},
    "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.85},
    "stream_interval": 20,
}


def launched(plan: Plan) -> Launch:
    assert plan.launch is not None, plan.refusals
    return plan.launch


def lines(plan: Plan) -> dict[str, str]:
    return {name: command.shell for name, command in launched(plan).commands.items()}


@pytest.mark.parametrize(
    ("release", "config", "dataset"),
    [
        ("1.0.0", "--extra_llm_api_options", SCRIPT),
        ("1.1.0", "--extra_llm_api_options", SCRIPT),
        ("1.2.0", "--config", SUBCOMMAND),
        ("1.3.0rc1", "--config", SUBCOMMAND),
        ("1.3.0rc20", "--config", SUBCOMMAND),
        ("1.3.0rc22", "--config", SUBCOMMAND),
        ("1.4.0rc1", "--config", SUBCOMMAND),
    ],
)
def test_whole_command_lines_of_each_era(release: str, config: str, dataset: str) -> None:
    plan = plan_published(LLAMA_8B, OUT, f"target.release={release}")
    assert lines(plan) == {
        "serve": f"{SERVE} {config} out/llm_args.yaml",
        "dataset": dataset,
        "bench": BENCH,
    }
    assert list(launched(plan).commands) == ["serve", "dataset", "bench"], "in the order in which they are typed"


def test_a_compiled_engine_is_built_by_trtllm_build() -> None:
    plan = plan_published(LLAMA_8B, OUT, "target.backend=tensorrt", "target.parallel.tp=2")
    assert launched(plan) == Launch(
        {
            "build": Command(
                tuple(
                    shlex.split(
                        "trtllm-build --checkpoint_dir out/checkpoint --output_dir out/engine --max_batch_size 512 "
                        "--max_num_tokens 20000 --max_seq_len 9216 --gemm_plugin nvfp4 --workers 2"
                    )
                )
            )
        },
        {},
    )
    check_flags("trtllm-build", "1.2.1", list(launched(plan).commands["build"].argv))


def test_llm_arguments_and_triton_s_model_yaml() -> None:
    plan = plan_published(LLAMA_8B, OUT)
    assert plan.llm_args == LLM_ARGS
    assert launched(plan).triton_model == {
        "model": "out/checkpoint",
        **LLM_ARGS,
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    assert launched(plan).env == {}


def test_experts_name_their_kernel_and_dense_models_do_not() -> None:
    for repo, backend in ((GPT_OSS_120B, "TRTLLM"), (GPT_OSS_120B_NVFP4, "TRTLLM"), (QWEN3_30B, "CUTLASS")):
        layers = 1 if repo == QWEN3_30B else None
        assert plan_published(repo, layers=layers).llm_args == {**LLM_ARGS, "moe_config": {"backend": backend}}
    hopper = plan_published(GPT_OSS_20B, "target.gpu=h200").llm_args
    assert hopper is not None
    assert hopper["moe_config"] == {"backend": "TRITON"}


def test_every_section_of_the_recipe_comes_through() -> None:
    plan = plan_published(
        GPT_OSS_120B,
        OUT,
        "target.parallel={tp: 4, ep: 2, attention_dp: true}",
        "engine.max_batch_size=64",
        "engine.max_num_tokens=4096",
        "engine.max_seq_len=3000",
        "engine.kv_cache_dtype=auto",
        "engine.kv_cache_free_gpu_memory_fraction=0.5",
        "engine.stream_interval=3",
        "bench.isl=[100, 200]",
        "bench.osl=[10, 20]",
        "bench.concurrency=[1, 32]",
        "bench.requests=77",
    )
    assert plan.llm_args == {
        "backend": "pytorch",
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 1,
        "moe_expert_parallel_size": 2,
        "enable_attention_dp": True,
        "max_batch_size": 64,
        "max_num_tokens": 4096,
        "max_seq_len": 3000,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": 64},
        "kv_cache_config": {"dtype": "auto", "free_gpu_memory_fraction": 0.5},
        "stream_interval": 3,
        "moe_config": {"backend": "TRTLLM"},
    }
    assert lines(plan)["bench"] == (
        f"trtllm-bench --model {GPT_OSS_120B} --model_path out/checkpoint throughput --backend pytorch "
        "--extra_llm_api_options out/llm_args.yaml --dataset dataset-100-10.jsonl --tp 4 --pp 1 --ep 2 "
        "--max_batch_size 64 --max_num_tokens 4096 --max_seq_len 3000 --kv_cache_free_gpu_mem_fraction 0.5 "
        "--concurrency 32 --streaming"
    )
    assert "--num-requests 77 --input-mean 100 --output-mean 10" in lines(plan)["dataset"]


def local(*overrides: str, files: tuple[str, ...] = ("tokenizer.json",)) -> Plan:
    source = census("llama-nvfp4", exclude=["lm_head"], files=files)
    assert layouts.SHARD in source.shards
    return make_plan(tiny(OUT, *overrides), source)


def test_a_local_checkpoint_is_named_by_the_recipe() -> None:
    """trtllm-bench refuses a folder as --model: the name stands for it, and is not a path."""
    bench = lines(local())["bench"]
    assert bench.startswith("trtllm-bench --model tiny-gpt-oss-cpu --model_path out/checkpoint throughput ")


@pytest.mark.parametrize("release", ["1.1.0", "1.2.1"])
def test_the_tokenizer_of_a_local_checkpoint_is_the_bundle_s(release: str) -> None:
    """The script takes a folder; the subcommand of 1.2 takes none."""
    assert lines(local(f"target.release={release}"))["dataset"].startswith(
        "python3 benchmarks/cpp/prepare_dataset.py --tokenizer out/checkpoint --random-seed 420 --stdout "
    )


def no_dataset(plan: Plan) -> list[str]:
    assert "dataset" not in lines(plan)
    return [note.what for note in plan.notes if note.what.startswith("no line makes the bench's dataset")]


def test_no_dataset_line_where_none_would_run() -> None:
    assert no_dataset(local("target.release=1.3.0rc1")) == [
        "no line makes the bench's dataset: in 1.3.0rc1 `trtllm-bench prepare-dataset` takes the tokenizer of a Hub "
        "repository as --model, not a folder; name one that has this tokenizer"
    ]
    assert no_dataset(local(files=())) == ["no line makes the bench's dataset: it needs a tokenizer.json"]
    own = predicted(LLAMA_8B)
    bare = replace(own, files=tuple(name for name in own.files if not name.startswith("tokenizer")))
    assert no_dataset(make_plan(published(LLAMA_8B), bare)) == [
        "no line makes the bench's dataset: it needs a tokenizer.json"
    ]


@pytest.mark.parametrize("release", ["1.2.1", "1.4.0rc1"])
def test_a_published_checkpoint_without_tokenizer_takes_its_model_s(release: str) -> None:
    plan = plan_published(GPT_OSS_120B_NVFP4, f"target.release={release}")
    assert lines(plan)["dataset"].startswith("trtllm-bench --model openai/gpt-oss-120b prepare-dataset ")
    assert lines(plan)["bench"].startswith(f"trtllm-bench --model {GPT_OSS_120B_NVFP4} ")


def test_paths_with_spaces_are_quoted() -> None:
    assert lines(plan_published(LLAMA_8B, "engine.output=my out"))["serve"] == (
        "trtllm-serve 'my out/checkpoint' --config 'my out/llm_args.yaml'"
    )
