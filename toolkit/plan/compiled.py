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

Packed weights and block scales split along ``in`` at multiples of 16 elements. q, k and v share their scalars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo
from toolkit.models.geometry import Geometry
from toolkit.plan.types import Action, ShardPlan, Slice

Tensors = Mapping[str, TensorInfo]
LINEARS = {
    "self_attn.o_proj": ("attention.dense", 1),
    "mlp.gate_proj": ("mlp.fc", 0),
    "mlp.up_proj": ("mlp.gate", 0),
    "mlp.down_proj": ("mlp.proj", 1),
}
NORMS = {"input_layernorm": "input_layernorm", "post_attention_layernorm": "post_layernorm"}
SCALARS = {"weight_scale_2": "weights_scaling_factor_2", "input_scale": "activation_scaling_factor"}
SPLIT = {"weight": "weight", "weight_scale": "weights_scaling_factor"}


def rank_shards(tensors: Tensors, geometry: Geometry, tp: int) -> tuple[ShardPlan, ...]:
    """The files of every rank."""
    return tuple(ShardPlan(f"rank{rank}.safetensors", tuple(_rank(tensors, geometry, tp, rank))) for rank in range(tp))


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
            yield Action("relay", (scalar,), f"{target}.{name}", "F32", (1,), "compiled", (None,))


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
        "mapping": {"world_size": tp, "tp_size": tp, "pp_size": 1},
        "quantization": {
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": census.quant.kv_cache_algo if census.quant else None,
            "group_size": 16,
            "exclude_modules": ["lm_head"],
        },
    }
