"""Llama as a TensorRT-LLM checkpoint for ``trtllm-build``: one ``rank{N}.safetensors`` a tensor-parallel rank.

Names and layout of the Llama family (``tensorrt_llm/models/llama/convert.py`` @04a2cacb; scales as
``preprocess_perlayer_weights`` of ``models/modeling_utils.py`` reads them, which interleaves the block scales itself)::

    transformer.vocab_embedding.weight    embed_tokens, rows split
    transformer.layers.N.input_layernorm.weight, .post_layernorm.weight
    transformer.layers.N.attention.qkv    q, k and v of the rank, joined along out; KV heads copied for further ranks
    transformer.layers.N.attention.dense  o_proj, split along in
    transformer.layers.N.mlp.fc           gate_proj, split along out
    transformer.layers.N.mlp.gate         up_proj, split along out
    transformer.layers.N.mlp.proj         down_proj, split along in
    transformer.ln_f.weight               norm
    lm_head.weight                        rows split
    *.weights_scaling_factor              weight_scale F8_E4M3 [out, in/16], split as the weight
    *.weights_scaling_factor_2            weight_scale_2 F32 [1]
    *.activation_scaling_factor           input_scale F32 [1]
    transformer.layers.N.attention.k_cache_scaling_factor, .v_cache_scaling_factor    k_scale, v_scale F32 [1]

Packed weights and block scales split along ``in`` at multiples of 16 elements. q, k and v share their scalars. The
scales of the KV cache are those that ``preprocess_weights`` of the same file joins to their maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo
from toolkit.models.geometry import Geometry
from toolkit.plan.cite import cite
from toolkit.plan.types import Action, Refusal, ShardPlan, Slice
from toolkit.recipe import ParallelSection

Tensors = Mapping[str, TensorInfo]
LINEARS = {
    "self_attn.o_proj": ("attention.dense", 1),
    "mlp.gate_proj": ("mlp.fc", 0),
    "mlp.up_proj": ("mlp.gate", 0),
    "mlp.down_proj": ("mlp.proj", 1),
}
NORMS = {"input_layernorm": "input_layernorm", "post_attention_layernorm": "post_layernorm"}
SCALARS = {"weight_scale_2": "weights_scaling_factor_2", "input_scale": "activation_scaling_factor"}
KV_SCALES = {"k_proj.k_scale": "k_cache_scaling_factor", "v_proj.v_scale": "v_cache_scaling_factor"}
SPLIT = {"weight": "weight", "weight_scale": "weights_scaling_factor"}

PYTORCH = "Set target.backend=pytorch: there the checkpoint is the engine"


def refuse(geometry: Geometry, parallel: ParallelSection) -> Iterator[Refusal]:
    """What trtkit cannot write as a TensorRT-LLM checkpoint."""
    rank_files = cite("compiled-rank-files")
    if parallel.pp > 1 or parallel.attention_dp:
        what = "trtkit splits a compiled engine by tensor parallelism only (target.parallel)"
        gpus = f"Set target.parallel to {{tp: {parallel.tp * parallel.pp}}}"
        yield Refusal(what, (gpus, PYTORCH), rank_files)
    if geometry.attention_bias or geometry.ffn_bias:
        yield Refusal("trtkit compiles Llama without biases only", (PYTORCH,), rank_files)
    if geometry.vocab % parallel.tp:
        what = f"tensor parallel {parallel.tp} does not split the vocabulary of {geometry.vocab} evenly"
        yield Refusal(f"{what} (target.parallel.tp)", ("Set target.parallel to {tp: 1}", PYTORCH), rank_files)


def refuse_kv(wanted: str, algo: str | None) -> Iterator[Refusal]:
    """A KV cache that the checkpoint does not give: the engine's is the one that its own scales are for."""
    given = (algo or "none").lower()
    if wanted not in ("auto", given):
        has = f"the checkpoint's scheme is {given.upper()}" if algo else "the checkpoint has no KV scheme"
        what = f"engine.kv_cache_dtype is {wanted}, but {has}, which the engine is built with"
        yield Refusal(what, ("Set engine.kv_cache_dtype=auto", PYTORCH), cite("compiled-kv-cache"))


def rank_shards(
    tensors: Tensors, geometry: Geometry, tp: int, repairs: Iterable[tuple[Action, ...]] = ()
) -> tuple[ShardPlan, ...]:
    """The files of every rank. A scalar that is not in the checkpoint comes from the action of ``repairs`` for it."""
    made = {str(action.output): action for actions in repairs for action in actions if not action.inputs}
    ranks = (tuple(_rank(tensors, geometry, tp, rank)) for rank in range(tp))
    return tuple(
        ShardPlan(f"rank{rank}.safetensors", tuple(_repaired(action, made) for action in actions))
        for rank, actions in enumerate(ranks)
    )


def _repaired(action: Action, made: Mapping[str, Action]) -> Action:
    """``action``, or what makes its only input, under the name and shape that it gives it."""
    source = made.get(action.inputs[0])
    return replace(source, output=action.output, shape=action.shape) if source is not None else action


def _rank(tensors: Tensors, geometry: Geometry, tp: int, rank: int) -> Iterator[Action]:
    yield _part(tensors, "model.embed_tokens.weight", "transformer.vocab_embedding.weight", 0, tp, rank)
    for layer in range(geometry.layers):
        source, target = f"model.layers.{layer}.", f"transformer.layers.{layer}."
        for norm, name in NORMS.items():
            yield _part(tensors, f"{source}{norm}.weight", f"{target}{name}.weight", 0, 1, 0)
        yield from _qkv(tensors, geometry, source, target + "attention.qkv.", tp, rank)
        for linear, (name, axis) in LINEARS.items():
            yield from _linear(tensors, source + linear, target + name, axis, tp, rank)
    yield _part(tensors, "model.norm.weight", "transformer.ln_f.weight", 0, 1, 0)
    head = "lm_head.weight" if "lm_head.weight" in tensors else "model.embed_tokens.weight"
    yield _part(tensors, head, "lm_head.weight", 0, tp, rank)


def _linear(tensors: Tensors, source: str, target: str, axis: int, tp: int, rank: int) -> Iterator[Action]:
    for suffix, name in SPLIT.items():
        if f"{source}.{suffix}" in tensors:
            yield _part(tensors, f"{source}.{suffix}", f"{target}.{name}", axis, tp, rank)
    yield from _scalars(tensors, source, target)


def _scalars(tensors: Tensors, source: str, target: str) -> Iterator[Action]:
    for suffix, name in SCALARS.items():
        if (scalar := f"{source}.{suffix}") in tensors:
            yield _scalar(scalar, f"{target}.{name}")


def _scalar(source: str, target: str) -> Action:
    return Action("relay", (source,), target, "F32", (1,), "compiled", (None,))


def _qkv(tensors: Tensors, geometry: Geometry, source: str, target: str, tp: int, rank: int) -> Iterator[Action]:
    projections = [f"{source}self_attn.{name}_proj" for name in "qkv"]
    for suffix, name in SPLIT.items():
        inputs = tuple(f"{projection}.{suffix}" for projection in projections)
        if inputs[0] not in tensors:
            continue
        slices = tuple(
            Slice(0, *_heads(heads, geometry.head_dim, tp, rank))
            for heads in (geometry.heads, geometry.kv_heads, geometry.kv_heads)
        )
        first = tensors[inputs[0]]
        shape = (sum(part.end - part.begin for part in slices), first.shape[1])
        yield Action("relay", inputs, target + name, first.dtype, shape, "compiled", slices)
    yield from _scalars(tensors, projections[0], target.removesuffix("."))
    for scale, name in KV_SCALES.items():
        if (scalar := f"{source}self_attn.{scale}") in tensors:
            yield _scalar(scalar, target.removesuffix("qkv.") + name)


def _heads(heads: int, head_dim: int, tp: int, rank: int) -> tuple[int, int]:
    """Rows of the rank's heads; where ranks outnumber heads, neighbours hold the same one."""
    if heads >= tp:
        share = heads // tp
        return rank * share * head_dim, (rank + 1) * share * head_dim
    head = rank * heads // tp
    return head * head_dim, (head + 1) * head_dim


def _part(tensors: Tensors, source: str, target: str, axis: int, tp: int, rank: int) -> Action:
    info = tensors[source]
    shape = list(info.shape)
    shape[axis] //= tp
    part = Slice(axis, rank * shape[axis], (rank + 1) * shape[axis])
    slices = (part if tp > 1 else None,)
    return Action("relay", (source,), target, info.dtype, tuple(shape), "compiled", slices)


def trtllm_config(census: Census, geometry: Geometry, tp: int) -> dict[str, Any]:
    """``config.json`` of the TensorRT-LLM checkpoint (docs/source/legacy/architecture/checkpoint.md @10c1d594)."""
    config = census.config
    rope = config.get("rope_parameters") or {}
    return {
        "architecture": census.architecture,
        "dtype": config.get("torch_dtype") or config.get("dtype") or "bfloat16",
        "logits_dtype": "float32",
        "vocab_size": geometry.vocab,
        "hidden_size": geometry.hidden,
        "intermediate_size": geometry.intermediate,
        "num_hidden_layers": geometry.layers,
        "num_attention_heads": geometry.heads,
        "num_key_value_heads": geometry.kv_heads,
        "head_size": geometry.head_dim,
        "hidden_act": config.get("hidden_act", "silu"),
        "norm_epsilon": config.get("rms_norm_eps", 1e-5),
        "position_embedding_type": "rope_gpt_neox",
        "max_position_embeddings": geometry.max_positions,
        "rotary_base": config.get("rope_theta") or rope.get("rope_theta") or 10000.0,
        "rotary_scaling": config.get("rope_scaling")
        or (rope if rope.get("rope_type", "default") != "default" else None),
        "use_parallel_embedding": tp > 1,
        "embedding_sharding_dim": 0,
        "mapping": {"world_size": tp, "tp_size": tp, "pp_size": 1},
        "quantization": {
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": census.quant.kv_cache_algo if census.quant else None,
            "group_size": 16,
            "exclude_modules": ["lm_head"],
        },
    }
