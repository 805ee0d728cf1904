"""Llama: dense, grouped-query attention, one Linear a projection.

Read off what transformers 4.56.2 and ModelOpt 0.37.0 write (``tools/model_layouts.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.models.decoder import FFN, attention, outer
from toolkit.models.family import Family
from toolkit.models.geometry import Config, Geometry, Spec
from toolkit.models.layout import Layout
from toolkit.models.linear import linear

ARCHITECTURE = "LlamaForCausalLM"


def geometry(config: Mapping[str, Any], where: str) -> Geometry:
    """From ``config.json``; raises ``CheckpointError`` naming a missing or impossible key."""
    read = Config(config, where)
    sizes = read.shared_sizes()
    return Geometry(
        **sizes,
        intermediate=read.size("intermediate_size"),
        experts=0,
        experts_per_token=0,
        windows=(None,) * sizes["layers"],
        attention_bias=read.flag("attention_bias"),
        ffn_bias=read.flag("mlp_bias"),
    )


def specs(geometry: Geometry, layout: Layout) -> Iterator[tuple[str, Spec]]:
    yield from outer(geometry)
    for layer in range(geometry.layers):
        prefix = f"model.layers.{layer}."
        yield from attention(prefix, geometry, layout)
        for name in FFN:
            shape = geometry.projection_shape(name)
            yield from linear(f"{prefix}mlp.{name}", shape, layout.ffn, bias=geometry.ffn_bias)


FAMILY = Family("llama", ARCHITECTURE, geometry, specs, ("model.layers.0.mlp.gate_proj.weight",))
