from __future__ import annotations

from dataclasses import replace

from tests.models.layouts import case
from toolkit.models.decoder import attention, outer
from toolkit.models.layout import Layout

GEOMETRY = case("llama-bf16")[1]


def test_outside_the_layers() -> None:
    expected = {
        "model.embed_tokens.weight": ("BF16", (320, 64)),
        "model.norm.weight": ("BF16", (64,)),
        "lm_head.weight": ("BF16", (320, 64)),
    }
    assert dict(outer(GEOMETRY)) == expected
    del expected["lm_head.weight"]
    assert dict(outer(replace(GEOMETRY, tied=True))) == expected


def test_norms_and_projections_of_a_layer() -> None:
    weights = {
        "p.input_layernorm.weight": ("BF16", (64,)),
        "p.post_attention_layernorm.weight": ("BF16", (64,)),
        "p.self_attn.q_proj.weight": ("BF16", (96, 64)),
        "p.self_attn.k_proj.weight": ("BF16", (32, 64)),
        "p.self_attn.v_proj.weight": ("BF16", (32, 64)),
        "p.self_attn.o_proj.weight": ("BF16", (64, 96)),
    }
    assert dict(attention("p.", GEOMETRY, Layout("bf16", "nvfp4"))) == weights
    biases = {
        f"p.self_attn.{name}_proj.bias": ("BF16", (out,)) for name, out in zip("qkvo", (96, 32, 32, 64), strict=True)
    }
    assert dict(attention("p.", replace(GEOMETRY, attention_bias=True), Layout("bf16", "bf16"))) == weights | biases
