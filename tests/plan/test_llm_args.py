"""LLM arguments of a plan: the recipe's, NVIDIA's tuned ones under them, engine.llm_args over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plan.cases import GPT_OSS_20B, GPT_OSS_120B, LLAMA_8B, QWEN3_30B, plan_published, predicted
from toolkit import recipe
from toolkit.errors import PlanError
from toolkit.plan import Plan, make_plan

MINIMAL = """\
name: minimal
checkpoint: {repo: openai/gpt-oss-120b}
target: {runtime: tensorrt-llm, release: 1.2.1, gpu: b200}
engine: {output: out}
serve: {repository: repo}
bench: {output: results}
"""


def args_of(plan: Plan) -> dict[str, Any]:
    assert plan.llm_args is not None, plan.refusals
    return dict(plan.llm_args)


def env_of(plan: Plan) -> dict[str, str]:
    assert plan.launch is not None, plan.refusals
    return dict(plan.launch.env)


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.yaml"
    path.write_text(MINIMAL)
    return path


def plan_minimal(path: Path, *overrides: str) -> Plan:
    return make_plan(recipe.load(path, overrides), predicted(GPT_OSS_120B), predicted=True)


def test_a_profile_decides_what_a_recipe_leaves_open(minimal: Path) -> None:
    """The whole of 1k1k_tp1_conc256.yaml, graphs included, but for leave to run code."""
    plan = plan_minimal(minimal, "engine.profile=throughput")
    assert args_of(plan) == {
        "backend": "pytorch",
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "moe_expert_parallel_size": 1,
        "enable_attention_dp": False,
        "max_batch_size": 512,
        "max_num_tokens": 20000,
        "max_seq_len": 2304,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": 256},
        "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.85},
        "print_iter_log": True,
        "stream_interval": 20,
        "moe_config": {"backend": "TRTLLM"},
    }
    assert plan.memory is not None
    assert (plan.memory.kv_dtype, plan.memory.fits[-1].context) == ("fp8", 2304), "memory is planned with them"


def test_what_the_recipe_sets_wins_over_the_profile_even_where_it_sets_the_default(minimal: Path) -> None:
    plan = plan_minimal(minimal, "engine.profile=throughput", "engine.max_batch_size=8", "engine.kv_cache_dtype=auto")
    args = args_of(plan)
    assert (args["max_batch_size"], args["max_num_tokens"], args["kv_cache_config"]["dtype"]) == (8, 20000, "auto")
    assert args["cuda_graph_config"] == {"enable_padding": True, "max_batch_size": 8}


def test_a_latency_profile_takes_the_batch_that_its_graphs_are_for(minimal: Path) -> None:
    args = args_of(plan_minimal(minimal, "engine.profile=latency"))
    assert (args["max_batch_size"], args["max_seq_len"]) == (4, 2068)


def test_without_a_profile_the_defaults_hold(minimal: Path) -> None:
    args = args_of(plan_minimal(minimal))
    assert (args["max_batch_size"], args["max_num_tokens"], args["max_seq_len"]) == (8, 512, 2048)


@pytest.mark.parametrize("profile", [(), ("engine.profile=throughput",), ("engine.profile=latency",)])
def test_the_recipe_saved_in_a_bundle_gives_the_same_plan(minimal: Path, profile: tuple[str, ...]) -> None:
    loaded = recipe.load(minimal, [*profile, "engine.llm_args={env_overrides: {A: '1', B: 1e-3, C: null}}"]).absolute()
    saved = minimal.with_name("saved.yaml")
    saved.write_text(loaded.to_yaml())
    plans = [make_plan(one, predicted(GPT_OSS_120B), predicted=True) for one in (loaded, recipe.load(saved))]
    assert plans[0] == plans[1]
    assert args_of(plans[0])["env_overrides"] == {"A": "1", "B": 0.001, "C": None}


def test_attention_dp_finds_its_configuration_and_only_it_has_its_section() -> None:
    split = ("engine.profile=throughput", "target.parallel={tp: 2, ep: 2}")
    plain = plan_published(GPT_OSS_120B, *split)
    with_dp = plan_published(GPT_OSS_120B, *split, "target.parallel.attention_dp=true")
    assert "attention_dp_config" not in args_of(plain)
    assert args_of(with_dp)["attention_dp_config"].keys() == {"enable_balance", "batching_wait_iters", "timeout_iters"}


def test_another_moe_backend_in_the_tuned_configuration_is_said() -> None:
    split = "target.parallel={tp: 4, ep: 4, attention_dp: true}"
    plan = plan_published(GPT_OSS_120B, "engine.profile=throughput", split)
    assert args_of(plan)["moe_config"] == {"backend": "TRTLLM"}
    [note] = [note for note in plan.notes if "MoE backend" in note.what]
    assert note.what == "that configuration has MoE backend CUTLASS, the plan TRTLLM"
    assert note.source.startswith("examples/configs/database/openai/gpt-oss-120b/")
    plain = plan_published(GPT_OSS_120B, "engine.profile=throughput")
    assert not [note for note in plain.notes if "MoE backend" in note.what]


@pytest.mark.parametrize(
    ("own", "graphs"),
    [
        ("{batch_sizes: [1, 2, 4]}", {"enable_padding": True, "batch_sizes": [1, 2, 4]}),
        ("{max_batch_size: 4}", {"enable_padding": True, "max_batch_size": 4}),
        (
            "{batch_sizes: [1, 4], max_batch_size: 4}",
            {"enable_padding": True, "batch_sizes": [1, 4], "max_batch_size": 4},
        ),
        ("{enable_padding: false}", {"enable_padding": False, "max_batch_size": 512}),
    ],
)
def test_either_key_of_the_cuda_graphs_replaces_the_other(own: str, graphs: dict[str, Any]) -> None:
    assert (
        args_of(plan_published(GPT_OSS_120B, f"engine.llm_args.cuda_graph_config={own}"))["cuda_graph_config"] == graphs
    )


def test_tuned_graph_sizes_go_with_the_tuned_batch() -> None:
    tuned = args_of(plan_published(QWEN3_30B, "engine.profile=throughput", "engine.max_batch_size=161", layers=1))
    assert tuned["cuda_graph_config"] == {
        "enable_padding": True,
        "batch_sizes": [1, 2, 4, 8, 16, 32, 64, 128, 256, 384],
    }
    own = args_of(plan_published(QWEN3_30B, "engine.profile=throughput", "engine.max_batch_size=32", layers=1))
    assert own["cuda_graph_config"] == {"enable_padding": True, "max_batch_size": 32}


def test_what_the_plan_does_not_count_is_noted() -> None:
    own = ("engine.llm_args.kv_cache_config.max_tokens=9", "engine.llm_args.max_beam_width=2")
    said = [note.what for note in plan_published(GPT_OSS_20B, *own).notes]
    for name in ("kv_cache_config.max_tokens", "max_beam_width"):
        assert f"the plan does not count what engine.llm_args.{name} changes" in said


def test_tuned_arguments_go_under_the_recipe_s() -> None:
    """Database entry 1k1k_tp1_conc4.yaml; what the recipe has a key for is the recipe's."""
    plan = plan_published(GPT_OSS_120B, "engine.profile=latency", "engine.max_batch_size=16")
    plain = plan_published(GPT_OSS_120B, "engine.max_batch_size=16")
    assert plan.llm_args is not None
    assert plain.llm_args is not None
    assert plan.llm_args == {**plain.llm_args, "print_iter_log": True, "num_postprocess_workers": 4}
    assert env_of(plan) == {"TRTLLM_ENABLE_PDL": "1", "NCCL_GRAPH_REGISTER": "0"}
    note = next(note for note in plan.notes if "NVIDIA's latency configuration" in note.what)
    assert note.what.startswith("what the recipe does not set comes from NVIDIA's latency configuration")
    assert note.source == "examples/configs/database/openai/gpt-oss-120b/B200/1k1k_tp1_conc4.yaml @65b31db"


def test_leave_to_run_code_beside_weights_is_not_taken_over() -> None:
    for profile in ("latency", "throughput"):
        plan = plan_published(GPT_OSS_120B, f"engine.profile={profile}")
        assert plan.llm_args is not None
        assert "trust_remote_code" not in plan.llm_args


def test_engine_llm_args_win_over_tuned_ones_and_the_recipe() -> None:
    base = ("engine.profile=latency",)
    own = (
        "engine.llm_args.num_postprocess_workers=9",
        "engine.llm_args.stream_interval=7",
        "engine.llm_args.moe_config.backend=CUTLASS",
        "engine.llm_args.cuda_graph_config={max_batch_size: 4}",
        "engine.llm_args.trust_remote_code=true",
    )
    before, after = plan_published(GPT_OSS_120B, *base), plan_published(GPT_OSS_120B, *base, *own)
    assert before.llm_args is not None
    assert after.llm_args == {
        **before.llm_args,
        "num_postprocess_workers": 9,
        "stream_interval": 7,
        "moe_config": {"backend": "CUTLASS"},
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": 4},
        "trust_remote_code": True,
    }
    assert after.digest != before.digest


def test_values_have_the_types_of_the_recipe() -> None:
    args = plan_published(
        GPT_OSS_20B, "engine.llm_args.env_overrides={a: 7, b: '7', c: yes, d: 1e-3, e: null}"
    ).llm_args
    assert args is not None
    assert args["env_overrides"] == {"a": 7, "b": "7", "c": "yes", "d": 0.001, "e": None}


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
        (
            "engine.llm_args.moe_tensor_parallel_size=2",
            "engine.llm_args.moe_tensor_parallel_size: is 2, but the plan is made for target.parallel, tp / ep=1. "
            "Set target.parallel, tp / ep and leave this one out",
        ),
        (
            "engine.llm_args.kv_cache_free_gpu_memory_fraction=0.5",
            "engine.llm_args.kv_cache_free_gpu_memory_fraction: is 0.5, but the plan is made for "
            "engine.kv_cache_free_gpu_memory_fraction=0.85. Set engine.kv_cache_free_gpu_memory_fraction and leave "
            "this one out",
        ),
        (
            "engine.llm_args.context_parallel_size=2",
            "engine.llm_args.context_parallel_size: is not for a plan: trtkit plans no context parallelism. "
            "Leave it out",
        ),
        (
            "engine.llm_args.quant_config={quant_algo: FP8}",
            "engine.llm_args.quant_config: is not for a plan: the checkpoint's own JSON says how it is quantised. "
            "Leave it out",
        ),
        (
            "engine.llm_args.model=elsewhere",
            "engine.llm_args.model: is not for a plan: the bundle's checkpoint is the model. Leave it out",
        ),
        (
            "engine.llm_args.max_batch_size='512'",
            "engine.llm_args.max_batch_size: is '512', but the plan is made for engine.max_batch_size=512. "
            "Set engine.max_batch_size and leave this one out",
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
