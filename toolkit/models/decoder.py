"""What the decoders of every family have in common: the tensors outside the layers, a layer's norms and projections."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.models.geometry import Geometry, Spec
from toolkit.models.layout import Layout
from toolkit.models.linear import linear

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FFN = ("gate_proj", "up_proj", "down_proj")


def outer(geometry: Geometry) -> Iterator[tuple[str, Spec]]:
    """What stands outside the layers; a tied ``lm_head`` has no tensor."""
    yield "model.embed_tokens.weight", ("BF16", (geometry.vocab, geometry.hidden))
    yield "model.norm.weight", ("BF16", (geometry.hidden,))
    if not geometry.tied:
        yield "lm_head.weight", ("BF16", (geometry.vocab, geometry.hidden))


def attention(prefix: str, geometry: Geometry, layout: Layout) -> Iterator[tuple[str, Spec]]:
    """A layer's two norms and its q, k, v and o projections."""
    yield prefix + "input_layernorm.weight", ("BF16", (geometry.hidden,))
    yield prefix + "post_attention_layernorm.weight", ("BF16", (geometry.hidden,))
    for name in ATTENTION:
        shape = geometry.projection_shape(name)
        yield from linear(f"{prefix}self_attn.{name}", shape, layout.attention, bias=geometry.attention_bias)
