"""gpt-oss: geometry, and the tensors of a checkpoint in the layouts that exist.

The experts of a layer are two fused tensors, ``mlp.experts.{gate_up,down}_proj`` with gate and up interleaved (even
column gate, odd up). E experts, H hidden, I intermediate; K and N stand for H and 2I of gate_up, I and H of down::

    BF16 (transformers)          {}                BF16     [E, K, N]
    NVFP4 (ModelOpt 0.37-0.47)   {}                U8       [E, K/2, N]      low nibble = even row of K
                                 {}_weight_scale   F8_E4M3  [E, K/16, N]
                                 {}_weight_scale_2, {}_input_scale  F32 []   one scalar for all experts
    MXFP4 (openai/gpt-oss-*)     {}_blocks         U8       [E, N, K/32, 16] low nibble = even element of K
                                 {}_scales         U8       [E, N, K/32]     E8M0
    all                          {}_bias           BF16     [E, N]

Attention projections are Linears, NVFP4 or BF16; BF16 is what TensorRT-LLM's ``GptOssForCausalLM.load_nvfp4_weights``
reads. Everything else is BF16. NVFP4 was read off exports of ModelOpt 0.37.0, MXFP4 off transformers 4.56.2's
``Mxfp4GptOssExperts`` (``tools/model_layouts.py``); its sum is to the byte what the indices of openai/gpt-oss-20b
and -120b state.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.models.decoder import attention, outer
from toolkit.models.family import Family
from toolkit.models.geometry import Config, Geometry, Spec
from toolkit.models.layout import Format, Layout
from toolkit.numerics import mxfp4, nvfp4

ARCHITECTURE = "GptOssForCausalLM"
GROUP_SIZE = nvfp4.BLOCK
EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"
KINDS = ("sliding_attention", "full_attention")
MXFP4_CONFIG: Mapping[str, Any] = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}
"""``quantization_config`` as openai/gpt-oss-120b and -20b have it."""


def geometry(config: Mapping[str, Any], where: str) -> Geometry:
    """From ``config.json``; raises ``CheckpointError`` naming a missing or impossible key."""
    read = Config(config, where)
    required = {"kv_heads": read.size("num_key_value_heads"), "head_dim": read.size("head_dim")}
    sizes = {**read.shared_sizes(), **required}
    widths = {"hidden_size": sizes["hidden"], "intermediate_size": read.size("intermediate_size")}
    for key, value in widths.items():
        if value % GROUP_SIZE:
            raise read.wrong(f"{key} {value} is not a multiple of the group size {GROUP_SIZE}")
    return Geometry(
        **sizes,
        intermediate=widths["intermediate_size"],
        experts=read.size("num_local_experts"),
        experts_per_token=read.size("num_experts_per_tok"),
        windows=_windows(read, sizes["layers"]),
        attention_bias=True,
        ffn_bias=True,
    )


def _windows(config: Config, layers: int) -> tuple[int | None, ...]:
    """``layer_types`` says which layers slide; without it the even ones do, as transformers' GptOssConfig has it."""
    window = config.optional_size("sliding_window")
    kinds = config.values.get("layer_types")
    if kinds is None:
        kinds = [KINDS[layer % 2] for layer in range(layers)]
    if not isinstance(kinds, list) or any(kind not in KINDS for kind in kinds):
        raise config.wrong(f"layer_types is {reprlib.repr(kinds)}, not a list of {' and '.join(KINDS)}")
    return tuple(window if kind == KINDS[0] else None for kind in kinds)


def specs(geometry: Geometry, layout: Layout) -> Iterator[tuple[str, Spec]]:
    g = geometry
    yield from outer(g)
    for layer in range(g.layers):
        prefix = f"model.layers.{layer}."
        yield from attention(prefix, g, layout)
        yield prefix + "self_attn.sinks", ("BF16", (g.heads,))
        yield prefix + "mlp.router.weight", ("BF16", (g.experts, g.hidden))
        yield prefix + "mlp.router.bias", ("BF16", (g.experts,))
        stem = prefix + "mlp.experts."
        yield from _experts(stem + "gate_up_proj", (g.experts, g.hidden, 2 * g.intermediate), layout.ffn)
        yield from _experts(stem + "down_proj", (g.experts, g.intermediate, g.hidden), layout.ffn)


def _experts(stem: str, shape: tuple[int, int, int], stored: Format) -> Iterator[tuple[str, Spec]]:
    experts, k, n = shape
    yield stem + "_bias", ("BF16", (experts, n))
    if stored == "nvfp4":
        yield stem, ("U8", (experts, k // 2, n))
        yield stem + "_weight_scale", ("F8_E4M3", (experts, k // nvfp4.BLOCK, n))
        yield stem + "_weight_scale_2", ("F32", ())
        yield stem + "_input_scale", ("F32", ())
    elif stored == "mxfp4":
        blocks = k // mxfp4.BLOCK
        yield stem + "_blocks", ("U8", (experts, n, blocks, mxfp4.BLOCK // 2))
        yield stem + "_scales", ("U8", (experts, n, blocks))
    else:
        yield stem, ("BF16", shape)


FAMILY = Family(
    "gpt-oss",
    ARCHITECTURE,
    geometry,
    specs,
    (EXPERTS + "_blocks", EXPERTS),
    sizes={32: "gpt-oss-20b", 128: "gpt-oss-120b"},
    fused_experts=True,
    pipeline=False,
)
