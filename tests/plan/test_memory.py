"""Device memory against arithmetic of its own, and against what NVIDIA runs."""

from __future__ import annotations

from math import floor
from typing import Any

import pytest

from tests.models import layouts
from tests.plan.cases import (
    GPT_OSS_20B,
    GPT_OSS_120B,
    GPT_OSS_120B_NVFP4,
    LLAMA_8B,
    QWEN3_30B,
    plan_published,
    predicted,
    published,
    whats,
)
from toolkit.checkpoint.census import Census
from toolkit.models.known import KNOWN
from toolkit.models.layout import Layout
from toolkit.models.registry import FAMILIES
from toolkit.plan import Plan, make_plan
from toolkit.plan.memory import kv_dtype
from toolkit.plan.types import Fit, Memory
from toolkit.trtllm import load_targets, tuned
from toolkit.trtllm.tuned import Entry

GIB = 1 << 30
B200_BYTES = 191_126_044_672  # 178 GiB, as nvidia-smi reports it (gpus.yaml)
RESERVE = 4 * GIB


def memory(plan: Plan) -> Memory:
    assert plan.memory is not None, whats(plan)
    return plan.memory


def test_gpt_oss_120b_on_one_b200() -> None:
    """The file with BF16 attention was computed to have 68,831,997,120 bytes before this code existed. The loader turns
    the BF16 expert biases [128, 5760] and [128, 2880] of 36 layers into FP32. Half of the layers see 128 tokens; K and
    V are 8 heads × 64.
    """
    weights = 68_831_997_120 + 36 * 128 * (5760 + 2880) * 2
    per_token = 18 * 2 * 8 * 64  # FP8
    window = 18 * 128 * 2 * 8 * 64
    budget = floor((B200_BYTES - weights - RESERVE) * 0.85)
    assert memory(plan_published(GPT_OSS_120B_NVFP4)) == Memory(
        gpu=B200_BYTES,
        weights=weights,
        reserve=RESERVE,
        kv_budget=budget,
        kv_per_token=per_token,
        kv_window=window,
        kv_dtype="fp8",
        fits=tuple(Fit(tokens, budget // (tokens * per_token + window)) for tokens in (2048, 9216)),
    )
    assert (weights, per_token, window) == (68_911_623_360, 18_432, 2_359_296)


def test_the_same_in_bf16_kv_and_nvfp4_kv() -> None:
    for dtype, element in (("auto", 2), ("nvfp4", 0.5625)):
        held = memory(plan_published(GPT_OSS_120B_NVFP4, f"engine.kv_cache_dtype={dtype}"))
        assert held.kv_per_token == 18 * 2 * 8 * 64 * element
        assert held.kv_window == 18 * 128 * 2 * 8 * 64 * element


@pytest.mark.parametrize(
    ("tp", "ep", "attention_dp"),
    [(2, 1, False), (2, 2, False), (4, 4, False), (8, 2, False), (2, 2, True), (4, 1, True)],
)
def test_gpt_oss_120b_over_ranks(tp: int, ep: int, attention_dp: bool) -> None:
    """The sizes of the export's tensors, shared out by hand."""
    moe_tp = tp // ep
    whole_heads = 1 if attention_dp else tp
    up, down, bias = 5760, 2880, 4
    packed = 128 // ep * 1440 * (up + down) // moe_tp
    scales = 128 // ep * 180 * (up + down) // moe_tp
    biases = 128 // ep * (up // moe_tp + down) * bias  # down's bias is whole on each rank
    scalars = 4 * 4
    kv = -(-512 // whole_heads)
    attention = 2 * (
        (4096 // whole_heads + 2 * kv) * (2880 + 1) + 2880 * 4096 // whole_heads + 2880 + 64 // whole_heads
    )
    router, norms = 2 * 128 * 2881, 2 * 2 * 2880
    outer = 2 * (2 * 201088 * 2880 // whole_heads + 2880)
    weights = 36 * (packed + scales + biases + scalars + attention + router + norms) + outer
    overrides = (f"target.parallel.tp={tp}", f"target.parallel.ep={ep}", f"target.parallel.attention_dp={attention_dp}")
    held = memory(plan_published(GPT_OSS_120B_NVFP4, *overrides))
    assert held.weights == weights
    per_token = 18 * 2 * 8 * 64 // whole_heads
    assert held.kv_per_token == per_token
    budget = floor((B200_BYTES - weights - RESERVE) * 0.85)
    replicas = tp if attention_dp else 1
    window = 18 * 128 * 2 * 8 * 64 // whole_heads
    assert held.fits == tuple(
        Fit(tokens, budget // (tokens * per_token + window) * replicas) for tokens in (2048, 9216)
    )


def test_mxfp4_experts_keep_bf16_biases() -> None:
    """The sum that the index of openai/gpt-oss-120b states, and nothing more."""
    assert memory(plan_published(GPT_OSS_120B)).weights == 65_248_815_744
    assert memory(plan_published(GPT_OSS_20B)).weights == 13_761_264_768


def test_llama_has_no_windows() -> None:
    """32 layers, 8 KV heads of 128; its KV scheme is FP8, so ``auto`` is FP8."""
    for dtype in ("auto", "fp8"):
        held = memory(plan_published(LLAMA_8B, f"engine.kv_cache_dtype={dtype}"))
        assert (held.kv_dtype, held.kv_per_token, held.kv_window) == ("fp8", 32 * 2 * 8 * 128, 0)


def test_pipeline_ranks_hold_a_share_of_the_layers() -> None:
    whole, half = (memory(plan_published(LLAMA_8B, f"target.parallel.pp={pp}")) for pp in (1, 2))
    embedding = 128256 * 4096 * 2
    assert half.weights - embedding < (whole.weights - 2 * embedding) // 2 + 2 * 4096
    assert half.weights - embedding >= (whole.weights - 2 * embedding) // 2
    assert half.kv_per_token == whole.kv_per_token // 2


@pytest.mark.parametrize(
    ("wanted", "checkpoint", "dtype"),
    [
        ("auto", None, "bf16"),
        ("auto", "FP8", "fp8"),
        ("auto", "NVFP4", "nvfp4"),
        ("auto", "INT8", "bf16"),
        ("fp8", None, "fp8"),
        ("fp8", "NVFP4", "fp8"),
        ("nvfp4", "FP8", "nvfp4"),
    ],
)
def test_the_dtype_of_the_kv_cache(wanted: str, checkpoint: str | None, dtype: str) -> None:
    assert kv_dtype(wanted, checkpoint) == dtype


def test_contexts_are_those_of_the_benchmark_and_the_longest() -> None:
    plan = plan_published(GPT_OSS_20B, "bench.isl=[128, 8192]", "bench.osl=[128, 2048]", "engine.max_seq_len=9000")
    assert [fit.context for fit in memory(plan).fits] == [256, 2176, 8320, 9000]


def test_what_cannot_be_held_is_said() -> None:
    base = ("target.gpu=rtx-5090", "target.release=1.3.0rc20")
    plan = plan_published(GPT_OSS_20B, *base, "engine.max_batch_size=512")
    held = memory(plan)
    said = [note.what for note in plan.notes]
    requests = held.fits[-1].requests
    fewer = (
        f"{requests} requests of 9216 tokens fit at once; engine.max_batch_size 512 is reached with shorter ones only"
    )
    assert fewer in said
    plan = plan_published(LLAMA_8B, *base, "engine.kv_cache_free_gpu_memory_fraction=0.02", "engine.max_seq_len=131072")
    said = [note.what for note in plan.notes]
    assert "not one request of engine.max_seq_len 131072 tokens fits: lower it, or use more GPUs" in said
    few = plan_published(GPT_OSS_20B, "engine.max_batch_size=8")
    assert not any("fit at once" in note.what or "not one request" in note.what for note in few.notes)


def test_a_rank_s_batch_is_held_against_a_rank_s_requests() -> None:
    """With attention DP every rank has a batch of engine.max_batch_size, and a share of the requests that fit."""
    base = ("target.parallel={tp: 2, ep: 2, attention_dp: true}",)
    held = memory(plan_published(GPT_OSS_120B, *base))
    requests = held.fits[-1].requests
    for batch, said in ((requests // 2, 0), (requests // 2 + 1, 1), (requests, 1)):
        plan = plan_published(GPT_OSS_120B, *base, f"engine.max_batch_size={batch}")
        fewer = [note.what for note in plan.notes if "fit at once on each rank" in note.what]
        assert len(fewer) == said
        assert all(f"{requests // 2} requests of 9216 tokens" in what for what in fewer)


def heuristic(plan: Plan) -> list[str]:
    return [note.what for note in plan.notes if "trtllm-bench by itself" in note.what]


def test_where_the_release_s_own_heuristic_misjudges() -> None:
    """36 layers × K and V × 8 heads × 64 × 1 byte are 36,864 bytes a token, where 18,432 are used."""
    assert heuristic(plan_published(GPT_OSS_120B_NVFP4)) == [
        "trtllm-bench by itself counts packed FP4 bytes as parameters, the weights at about half their size, and "
        "counts sliding windows as full attention, 36.0 KiB of KV a token over all ranks; "
        "the launch line gives it both sizes"
    ]
    assert heuristic(plan_published(GPT_OSS_120B)) == [
        "trtllm-bench by itself has no tuning for MXFP4 and takes 2048 and 8192; the launch line gives it both sizes"
    ]
    assert heuristic(plan_published(LLAMA_8B)) == [
        "trtllm-bench by itself counts packed FP4 bytes as parameters, the weights at about half their size; "
        "the launch line gives it both sizes"
    ]
    assert heuristic(plan_published(LLAMA_8B, "target.weights=bf16")) == []
    assert heuristic(plan_published(LLAMA_8B, "target.backend=tensorrt")) == []


def test_weights_that_do_not_fit_are_refused_with_layouts_and_gpus() -> None:
    plan = plan_published(GPT_OSS_120B, "target.gpu=rtx-5090", "target.release=1.2.1")
    [refusal] = plan.refusals
    assert refusal.what == (
        "tp 1 puts 60.8 GiB of weights on each rtx-5090, which has 31.8 GiB and needs about 4 GiB beside them"
    )
    assert refusal.ways_out == (
        "Set target.parallel to {tp: 4} or {tp: 4, ep: 2} or {tp: 4, ep: 4}",
        "Run it on one of b200, gb200, b300, gb300, h100, h200, rtx-pro-6000, dgx-spark",
        "Serve a smaller model there",
    )
    assert refusal.evidence.source
    held = memory(plan)
    assert (held.weights, held.kv_budget) == (65_248_815_744, 0)
    assert {fit.requests for fit in held.fits} == {0}
    assert {layout.tp for layout in plan.layouts} == {4, 8}
    assert not plan_published(GPT_OSS_120B, "target.gpu=rtx-5090", "target.parallel={tp: 4}").refusals


def test_what_else_stands_in_the_way_is_kept() -> None:
    """NVFP4 has no kernel there, and its MXFP4 does not fit: both are said."""
    plan = plan_published(GPT_OSS_120B_NVFP4, "target.gpu=rtx-5090")
    assert plan.notes[0].what == "no MoE backend runs NVFP4 gpt-oss on rtx-5090 (SM120)"
    assert whats(plan)[0].startswith("tp 1 puts 60.8 GiB")


def test_a_fraction_of_what_is_left_goes_to_the_kv_cache() -> None:
    half, whole = (
        memory(plan_published(GPT_OSS_20B, f"engine.kv_cache_free_gpu_memory_fraction={fraction}"))
        for fraction in (0.5, 1.0)
    )
    assert whole.kv_budget == whole.gpu - whole.weights - RESERVE
    assert half.kv_budget == whole.kv_budget // 2


# NVIDIA's tuned configurations

REPOS = {"gpt-oss-120b": GPT_OSS_120B, "qwen3-30b-a3b": QWEN3_30B}
LLAMA_70B: dict[str, Any] = {
    **KNOWN[LLAMA_8B].config,
    "num_hidden_layers": 80,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
}
GPUS = {gpu.sm: name for name, gpu in reversed(load_targets().gpus.items()) if gpu.kind == "datacenter"}


def census_for(entry: Entry, weights: str) -> Census:
    """gpt-oss and Qwen3 as published; Llama-3.3-70B, which trtkit does not know, from its sizes."""
    if entry.model in REPOS:
        census = predicted(
            GPT_OSS_120B_NVFP4 if weights == "nvfp4" and entry.family == "gpt-oss" else REPOS[entry.model]
        )
        if entry.family == "gpt-oss" or weights == "nvfp4":
            return census
        config = census.config
    else:
        config = LLAMA_70B
    family = FAMILIES[config["architectures"][0]]
    tensors = family.tensors(family.geometry(config, entry.model), Layout(weights, weights))  # type: ignore[arg-type]
    return Census(config["architectures"][0], config, None, None, layouts.infos(tensors), {layouts.SHARD: 0}, (), "x")


def test_gpus_that_hold_it_and_cannot_run_it_are_no_way_out() -> None:
    """Hopper has memory for Llama-3.3-70B in NVFP4, and no kernel."""
    family = FAMILIES[LLAMA_70B["architectures"][0]]
    tensors = family.tensors(family.geometry(LLAMA_70B, "70b"), Layout("nvfp4", "nvfp4"))
    source = Census(
        "LlamaForCausalLM", LLAMA_70B, None, None, layouts.infos(tensors), {layouts.SHARD: 0}, (), "llama-70b"
    )
    plan = make_plan(published(LLAMA_8B, "target.gpu=rtx-5090", "engine.kv_cache_dtype=auto"), source)
    [refusal] = plan.refusals
    assert refusal.what.startswith("tp 1 puts 39.")
    [way] = [way for way in refusal.ways_out if way.startswith("Run it")]
    assert way == "Run it on one of b200, gb200, b300, gb300, rtx-pro-6000, dgx-spark"


def configurations() -> list[Any]:
    return [
        pytest.param(entry, weights, sm, id=f"{number}-{weights}-sm{sm}")
        for number, entry in enumerate(tuned.entries())
        for weights in (entry.weights, *entry.also)
        for sm in (entry.sm or (100,))
    ]


@pytest.mark.parametrize(("entry", "weights", "sm"), configurations())
def test_none_of_nvidia_s_configurations_is_called_impossible(entry: Entry, weights: str, sm: int) -> None:
    """Each at its own layout, limits and KV dtype: it loads, and at least one of its requests fits."""
    args, parallel = entry.args, entry.parallel
    kv = args.get("kv_cache_config", {})
    longest = args.get("max_seq_len", (entry.isl or 1024) + (entry.osl or 1024))
    recipe = published(
        GPT_OSS_120B,
        f"target.gpu={GPUS[sm]}",
        "target.release=1.3.0rc20",
        f"target.weights={'auto' if weights == 'fp8' else weights}",
        f"target.parallel={{tp: {parallel.tp}, ep: {parallel.ep}, attention_dp: {str(parallel.attention_dp).lower()}}}",
        f"engine.kv_cache_dtype={kv.get('dtype', 'auto')}",
        f"engine.kv_cache_free_gpu_memory_fraction={kv.get('free_gpu_memory_fraction', 0.9)}",
        f"engine.max_batch_size={args.get('max_batch_size', entry.concurrency or 8)}",
        f"engine.max_num_tokens={args.get('max_num_tokens', 8192)}",
        f"engine.max_seq_len={longest}",
        f"engine.profile={entry.profile}",
    )
    plan = make_plan(recipe, census_for(entry, weights), predicted=True)
    assert not plan.refusals, whats(plan)
    fit = memory(plan).fits[-1]
    assert fit.context == longest
    assert fit.requests >= 1
    if entry.concurrency:
        assert fit.requests * 4 >= entry.concurrency, "even with every request at its longest"
