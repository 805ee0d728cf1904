"""Device memory of a plan: weights of the heaviest rank, KV cache, and what fits beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from toolkit.models.geometry import Geometry
from toolkit.models.kv import kv_bytes, kv_bytes_per_token
from toolkit.models.sharding import Weights
from toolkit.plan.cite import evidence, note
from toolkit.plan.parallel import Rules, split, spoken, typed
from toolkit.plan.types import Fit, KvDtype, Memory, Note, Refusal, Split
from toolkit.recipe import ParallelSection, Recipe
from toolkit.trtllm import Fact

GIB = 1 << 30
RESERVE = 4 * GIB
"""Assumed, not measured: CUDA context, activations of one step, CUDA graphs and communication buffers of one rank."""
ELEMENT_BYTES: Mapping[str, float] = {"bf16": 2, "fp8": 1, "nvfp4": 0.5 + 1 / 16}


def kv_dtype(wanted: str, checkpoint_algo: str | None) -> KvDtype:
    """What ``kv_cache_config.dtype`` means: ``auto`` follows the checkpoint's KV scheme and is BF16 without one."""
    named: Mapping[str, KvDtype] = {"FP8": "fp8", "NVFP4": "nvfp4"}
    return named.get((checkpoint_algo or "" if wanted == "auto" else wanted).upper(), "bf16")


def budget(recipe: Recipe, weights: Weights, geometry: Geometry, gpu: int, kv: KvDtype) -> Memory:
    """Memory of the bundle with these weights on GPUs of ``gpu`` bytes, KV cache in dtype ``kv``."""
    parallel = recipe.target.parallel
    held_weights = weights_of(weights, geometry, parallel)
    fraction = recipe.engine.kv_cache_free_gpu_memory_fraction
    left = int(max(gpu - held_weights - RESERVE, 0) * fraction)
    element = ELEMENT_BYTES[kv]
    # with attention DP every rank serves requests of its own
    replicas = parallel.tp if parallel.attention_dp else 1
    longest = recipe.engine.max_seq_len
    tp, pp, dp = parallel.tp, parallel.pp, parallel.attention_dp
    per_token = kv_bytes_per_token(geometry, element_bytes=element, tp=tp, pp=pp, attention_dp=dp)

    def held(tokens: int) -> int:
        return kv_bytes(geometry, tokens, element_bytes=element, tp=tp, pp=pp, attention_dp=dp)

    return Memory(
        gpu=gpu,
        weights=held_weights,
        reserve=RESERVE,
        kv_budget=left,
        kv_per_token=per_token,
        kv_window=held(longest) - per_token * longest,
        kv_dtype=kv,
        fits=tuple(Fit(tokens, left // held(tokens) * replicas) for tokens in _contexts(recipe)),
    )


def _contexts(recipe: Recipe) -> Iterable[int]:
    """The contexts that the recipe measures, and its longest."""
    limit = recipe.engine.max_seq_len
    asked = {isl + osl for isl in recipe.bench.isl for osl in recipe.bench.osl}
    return sorted({tokens for tokens in asked if tokens <= limit} | {limit})


def memory_notes(recipe: Recipe, memory: Memory, geometry: Geometry, ffn: str) -> Iterator[Note]:
    """Where less fits than the recipe asks for, and what ``trtllm-bench`` would size wrongly."""
    longest, parallel = memory.fits[-1], recipe.target.parallel
    # engine.max_batch_size is a rank's, and with attention DP every rank has a batch of its own
    ranks = parallel.tp if parallel.attention_dp else 1
    of_a_rank, on_each = longest.requests // ranks, " on each rank" if ranks > 1 else ""
    if longest.requests == 0:
        yield Note(f"not one request of engine.max_seq_len {longest.context} tokens fits: lower it, or use more GPUs")
    elif of_a_rank < recipe.engine.max_batch_size:
        yield Note(
            f"{of_a_rank} requests of {longest.context} tokens fit at once{on_each}; "
            f"engine.max_batch_size {recipe.engine.max_batch_size} is reached with shorter ones only"
        )
    if recipe.target.backend == "tensorrt":
        return  # trtllm-build is given both sizes, and there is no trtllm-bench
    if misjudged := list(_misjudged(recipe, memory, geometry, ffn)):
        what = f"trtllm-bench by itself {', and '.join(misjudged)}; the launch line gives it both sizes"
        yield note("bench-heuristic", what)


def _misjudged(recipe: Recipe, memory: Memory, geometry: Geometry, ffn: str) -> Iterator[str]:
    """What the release's own choice of max_batch_size and max_num_tokens rests on, where that is wrong."""
    if ffn == "mxfp4":
        yield "has no tuning for MXFP4 and takes 2048 and 8192"
        return
    if ffn == "nvfp4":
        yield "counts packed FP4 bytes as parameters, the weights at about half their size"
    if any(window is not None for window in geometry.windows):
        tp = recipe.target.parallel.tp
        counted = 2 * geometry.layers * max(tp, geometry.kv_heads) * geometry.head_dim * ELEMENT_BYTES[memory.kv_dtype]
        yield f"counts sliding windows as full attention, {counted / 1024:.1f} KiB of KV a token over all ranks"


def legal_that_fit(rules: Rules, weights: Weights, geometry: Geometry, gpu: int) -> list[Split]:
    """The legal layouts whose heaviest rank holds its weights, smallest first."""
    return [split(p) for p in rules.legal() if weights_of(weights, geometry, p) + RESERVE <= gpu]


def weights_of(weights: Weights, geometry: Geometry, parallel: ParallelSection) -> int:
    """Bytes of weights on the heaviest rank."""
    tp, pp, ep, dp = parallel.tp, parallel.pp, parallel.ep, parallel.attention_dp
    return weights.rank_bytes(geometry, tp=tp, pp=pp, ep=ep, attention_dp=dp)


def refuse(held: Memory, recipe: Recipe, fitting: list[Split], gpus: Mapping[str, int], fact: Fact) -> Refusal:
    """The weights do not fit; other layouts on this GPU, or GPUs that hold them in this layout, are the ways out.

    ``gpus``: memory in bytes of those that compute the model; ``fact``: where this one's stands.
    """
    parallel, needed = recipe.target.parallel, held.weights + held.reserve
    larger = [name for name, memory in gpus.items() if memory >= needed]
    ways = (
        *((f"Set {typed(sorted(fitting, key=lambda p: p.attention_dp)[:3])}",) if fitting else ()),
        *((f"Run it on one of {', '.join(larger)}",) if larger else ()),
        "Serve a smaller model there",
    )
    what = (
        f"{spoken(parallel)} puts {held.weights / GIB:.1f} GiB of weights on each {recipe.target.gpu}, which has "
        f"{held.gpu / GIB:.1f} GiB and needs about {held.reserve / GIB:.0f} GiB beside them"
    )
    return Refusal(what, ways, evidence(fact))
