from __future__ import annotations

import shlex
from typing import Any

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
    tiny,
)
from toolkit.errors import PlanError
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


def test_tuned_arguments_go_under_the_recipe_s() -> None:
    """Database entry 1k1k_tp1_conc4.yaml; what the recipe has a key for is the recipe's."""
    plan = plan_published(GPT_OSS_120B, "engine.profile=latency", "engine.max_batch_size=16")
    plain = plan_published(GPT_OSS_120B, "engine.max_batch_size=16")
    assert plan.llm_args is not None
    assert plain.llm_args is not None
    assert plan.llm_args == {**plain.llm_args, "print_iter_log": True, "num_postprocess_workers": 4}
    assert launched(plan).env == {"TRTLLM_ENABLE_PDL": "1", "NCCL_GRAPH_REGISTER": "0"}
    note = next(note for note in plan.notes if "NVIDIA's latency configuration" in note.what)
    assert note.what.startswith("LLM arguments without a recipe key come from NVIDIA's latency configuration")
    assert note.source == "examples/configs/database/openai/gpt-oss-120b/B200/1k1k_tp1_conc4.yaml @65b31db"


def test_leave_to_run_code_beside_weights_is_not_taken_over() -> None:
    for profile in ("latency", "throughput"):
        plan = plan_published(GPT_OSS_120B, f"engine.profile={profile}")
        assert plan.llm_args is not None
        assert "trust_remote_code" not in plan.llm_args
        assert "batch_sizes" not in plan.llm_args["cuda_graph_config"], "engine.max_batch_size stands for them"


def test_engine_llm_args_win_over_tuned_ones_and_the_recipe() -> None:
    base = ("engine.profile=latency",)
    own = (
        "engine.llm_args.num_postprocess_workers=9",
        "engine.llm_args.stream_interval=7",
        "engine.llm_args.moe_config.backend=TRITON",
        "engine.llm_args.cuda_graph_config={max_batch_size: 4}",
        "engine.llm_args.trust_remote_code=true",
    )
    before, after = plan_published(GPT_OSS_120B, *base), plan_published(GPT_OSS_120B, *base, *own)
    assert before.llm_args is not None
    assert after.llm_args == {
        **before.llm_args,
        "num_postprocess_workers": 9,
        "stream_interval": 7,
        "moe_config": {"backend": "TRITON"},
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": 4},
        "trust_remote_code": True,
    }
    assert after.digest != before.digest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-1", -1),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("2.", 2.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("fp8", "fp8"),
        ("1.2.1", "1.2.1"),
        ("nan", "nan"),
        ("9" * 5000, "9" * 5000),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_values_are_numbers_where_they_look_like_numbers(text: str, value: Any) -> None:
    """A recipe keeps its scalars as text; ``env_overrides`` takes any values."""
    args = plan_published(GPT_OSS_20B, f"engine.llm_args.env_overrides={{it: {text}}}").llm_args
    assert args is not None
    found = args["env_overrides"]["it"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("override", "error"),
    [
        (
            "engine.llm_args.max_batch_sise=3",
            "engine.llm_args.max_batch_sise: TensorRT-LLM 1.2.1 has no LLM argument max_batch_sise. "
            "Did you mean max_batch_size?",
        ),
        (
            "engine.llm_args.cuda_graph_config.padding_enabled=true",
            "engine.llm_args.cuda_graph_config.padding_enabled: TensorRT-LLM 1.2.1 has no LLM argument "
            "cuda_graph_config.padding_enabled. Write cuda_graph_config.enable_padding "
            "(release notes 1.0, API changes)",
        ),
        (
            "engine.llm_args.kv_cache_dtype=fp8",
            "engine.llm_args.kv_cache_dtype: TensorRT-LLM 1.2.1 has no LLM argument kv_cache_dtype. Write "
            "kv_cache_config.dtype (in llm.yaml @000a01d; release notes 1.0: Unify KvCacheConfig in LLM class)",
        ),
        (
            "engine.llm_args.tensor_parallel_size=4",
            "engine.llm_args.tensor_parallel_size: is 4, but the plan is made for target.parallel.tp=1. "
            "Set target.parallel.tp and leave this one out",
        ),
        (
            "engine.llm_args.max_seq_len=100",
            "engine.llm_args.max_seq_len: is 100, but the plan is made for engine.max_seq_len=9216. "
            "Set engine.max_seq_len and leave this one out",
        ),
        (
            "engine.llm_args.kv_cache_config={free_gpu_memory_fraction: 0.9}",
            "engine.llm_args.kv_cache_config.free_gpu_memory_fraction: is 0.9, but the plan is made for "
            "engine.kv_cache_free_gpu_memory_fraction=0.85. Set engine.kv_cache_free_gpu_memory_fraction and leave "
            "this one out",
        ),
    ],
)
def test_arguments_that_are_wrong_or_contradict_the_recipe(override: str, error: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_published(GPT_OSS_20B, override)
    assert str(caught.value) == error


def test_saying_the_same_twice_is_no_contradiction() -> None:
    same = ("engine.llm_args.max_seq_len=9216", "engine.llm_args.kv_cache_config={dtype: fp8}")
    assert plan_published(GPT_OSS_20B, *same).llm_args == plan_published(GPT_OSS_20B).llm_args
    with pytest.raises(PlanError, match=r"kv_cache_config\.dtype: is None, but the plan is made for .*=fp8"):
        plan_published(GPT_OSS_20B, "engine.llm_args.kv_cache_config=")


def test_what_is_doubtful_about_an_argument_is_noted() -> None:
    notes = plan_published(GPT_OSS_20B, "engine.profile=throughput", "target.gpu=b200").notes
    assert all(note.what for note in notes)
    said = [note.what for note in notes if note.what.startswith("llm_args.")]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("key", ["llm_args={max_batch_size: 512}", "profile=throughput"])
def test_a_compiled_engine_has_no_llm_arguments(key: str) -> None:
    name = key.partition("=")[0]
    with pytest.raises(PlanError) as caught:
        plan_published(LLAMA_8B, "target.backend=tensorrt", f"engine.{key}")
    assert str(caught.value) == (
        f"engine.{name}: a compiled engine takes no LLM arguments. "
        f"Leave engine.{name} out, or set target.backend=pytorch"
    )


def test_a_profile_that_nvidia_does_not_publish() -> None:
    with pytest.raises(PlanError) as caught:
        plan_published(LLAMA_8B, "engine.profile=latency")
    assert str(caught.value) == (
        "engine.profile: NVIDIA publishes no latency configuration of llama in NVFP4 for b200. "
        "Leave engine.profile out, or set another"
    )


def test_a_profile_of_another_size_says_so() -> None:
    plan = plan_published(GPT_OSS_20B, "engine.profile=throughput")
    note = next(note for note in plan.notes if "throughput configuration" in note.what)
    assert "published for gpt-oss-120b" in note.what


def test_a_local_checkpoint_is_named_by_the_recipe() -> None:
    """trtllm-bench refuses a folder as --model: the name stands for it, and is not a path."""
    source = census("llama-nvfp4", exclude=["lm_head"])
    assert layouts.SHARD in source.shards
    bench = lines(make_plan(tiny(OUT), source))["bench"]
    assert bench.startswith("trtllm-bench --model tiny-gpt-oss-cpu --model_path out/checkpoint throughput ")


def test_paths_with_spaces_are_quoted() -> None:
    assert lines(plan_published(LLAMA_8B, "engine.output=my out"))["serve"] == (
        "trtllm-serve 'my out/checkpoint' --config 'my out/llm_args.yaml'"
    )
