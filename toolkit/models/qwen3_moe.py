"""Qwen3-MoE: every layer has a router and experts of three Linears each, every head's q and k a norm.

Read off what transformers 4.56.2 and ModelOpt 0.37.0 write (``tools/model_layouts.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.errors import CheckpointError
from toolkit.models.decoder import FFN, attention, outer
from toolkit.models.family import Family
from toolkit.models.geometry import Config, Geometry, Spec
from toolkit.models.layout import Layout
from toolkit.models.linear import linear

ARCHITECTURE = "Qwen3MoeForCausalLM"


def geometry(config: Mapping[str, Any], where: str) -> Geometry:
    """From ``config.json``; raises ``CheckpointError`` naming a missing or impossible key, and for dense layers."""
    read = Config(config, where)
    _require_experts_everywhere(read)
    sizes = read.shared_sizes()
    # as Qwen3MoeConfig reads it: the switch decides, then one window holds for every layer
    window = read.optional_size("sliding_window") if read.flag("use_sliding_window") else None
    return Geometry(
        **sizes,
        intermediate=read.size("moe_intermediate_size"),
        experts=read.size("num_experts"),
        experts_per_token=read.size("num_experts_per_tok"),
        windows=(window,) * sizes["layers"],
        attention_bias=read.flag("attention_bias"),
    )


def _require_experts_everywhere(config: Config) -> None:
    dense = config.values.get("mlp_only_layers")
    if dense or config.values.get("decoder_sparse_step", 1) != 1:
        raise CheckpointError(
            f"some layers are dense (mlp_only_layers {dense!r})",
            where=f"{config.where}/config.json",
            hint="trtkit knows Qwen3-MoE with experts in every layer, as every published one has them",
        )


def specs(geometry: Geometry, layout: Layout) -> Iterator[tuple[str, Spec]]:
    yield from outer(geometry)
    for layer in range(geometry.layers):
        prefix = f"model.layers.{layer}."
        yield from attention(prefix, geometry, layout)
        yield prefix + "self_attn.q_norm.weight", ("BF16", (geometry.head_dim,))
        yield prefix + "self_attn.k_norm.weight", ("BF16", (geometry.head_dim,))
        yield prefix + "mlp.gate.weight", ("BF16", (geometry.experts, geometry.hidden))
        for expert in range(geometry.experts):
            for name in FFN:
                shape = geometry.projection_shape(name)
                yield from linear(f"{prefix}mlp.experts.{expert}.{name}", shape, layout.ffn)


FAMILY = Family("qwen3-moe", ARCHITECTURE, geometry, specs, ("model.layers.0.mlp.experts.0.gate_proj.weight",))
