"""gpt-oss: geometry, and the tensors of a checkpoint in the layouts that exist.

Layout of a ModelOpt export (0.37 to 0.47, read off exports of those versions; gate and up columns interleaved)::

    mlp.experts.gate_up_proj               U8       [E, H/2, 2I]     low nibble = even row of H
    mlp.experts.gate_up_proj_weight_scale  F8_E4M3  [E, H/16, 2I]
    mlp.experts.down_proj                  U8       [E, I/2, H]
    mlp.experts.down_proj_weight_scale     F8_E4M3  [E, I/16, H]
    mlp.experts.*_weight_scale_2, *_input_scale  F32 []              one scalar for all experts
    self_attn.{q,k,v,o}_proj.weight        U8       [out, in/2]      with .weight_scale F8_E4M3 [out, in/16]
    self_attn.*_proj.weight_scale_2, .input_scale  F32 []

Everything else is BF16. With ``attention="bf16"`` the projections are plain BF16 [out, in]: that is what TensorRT-LLM's
``GptOssForCausalLM.load_nvfp4_weights`` reads.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from toolkit.errors import CheckpointError
from toolkit.numerics import nvfp4

ARCHITECTURE = "GptOssForCausalLM"
GROUP_SIZE = nvfp4.BLOCK
MAX_SIZE = (1 << 31) - 1
CONFIG_HINT = "Take config.json from the export that these weights came with"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
Spec = tuple[str, tuple[int, ...]]
Format = Literal["nvfp4", "bf16"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes that fix every tensor's shape."""

    layers: int
    hidden: int
    intermediate: int
    experts: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Geometry:
        """From a Hugging Face ``config.json``; raises ``CheckpointError`` naming a missing or impossible key.

        ``where`` is how the message names the checkpoint.
        """
        keys = {
            "layers": "num_hidden_layers",
            "hidden": "hidden_size",
            "intermediate": "intermediate_size",
            "experts": "num_local_experts",
            "heads": "num_attention_heads",
            "kv_heads": "num_key_value_heads",
            "head_dim": "head_dim",
            "vocab": "vocab_size",
        }
        sizes = {field: _size(config, key, where) for field, key in keys.items()}
        for field in ("hidden", "intermediate"):
            if sizes[field] % GROUP_SIZE:
                what = f"{keys[field]} {sizes[field]} is not a multiple of the group size {GROUP_SIZE}"
                raise CheckpointError(what, where=f"{where}/config.json", hint=CONFIG_HINT)
        return cls(**sizes)

    def projection_shape(self, projection: str) -> tuple[int, int]:
        """[out, in] of an attention projection."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (q, self.hidden),
            "k_proj": (kv, self.hidden),
            "v_proj": (kv, self.hidden),
            "o_proj": (self.hidden, q),
        }[projection]


def _size(config: Mapping[str, Any], key: str, where: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
        what = f"{key} is {reprlib.repr(value)}, not a positive integer of 32 bits"
        raise CheckpointError(what, where=f"{where}/config.json", hint=CONFIG_HINT)
    return value


def tensors(geometry: Geometry, *, attention: Format, experts: Format = "nvfp4") -> dict[str, Spec]:
    """Every tensor of a checkpoint in that layout: name → (safetensors dtype, shape)."""
    g = geometry
    out: dict[str, Spec] = {
        "model.embed_tokens.weight": ("BF16", (g.vocab, g.hidden)),
        "model.norm.weight": ("BF16", (g.hidden,)),
        "lm_head.weight": ("BF16", (g.vocab, g.hidden)),
    }
    for layer in range(g.layers):
        prefix = f"model.layers.{layer}."
        out[prefix + "input_layernorm.weight"] = ("BF16", (g.hidden,))
        out[prefix + "post_attention_layernorm.weight"] = ("BF16", (g.hidden,))
        out[prefix + "self_attn.sinks"] = ("BF16", (g.heads,))
        out[prefix + "mlp.router.weight"] = ("BF16", (g.experts, g.hidden))
        out[prefix + "mlp.router.bias"] = ("BF16", (g.experts,))
        for projection in PROJECTIONS:
            shape = g.projection_shape(projection)
            name = f"{prefix}self_attn.{projection}"
            out[name + ".bias"] = ("BF16", shape[:1])
            out |= _linear(name, shape) if attention == "nvfp4" else {name + ".weight": ("BF16", shape)}
        for name, k, n in (("gate_up_proj", g.hidden, 2 * g.intermediate), ("down_proj", g.intermediate, g.hidden)):
            stem = f"{prefix}mlp.experts.{name}"
            out[stem + "_bias"] = ("BF16", (g.experts, n))
            out |= _experts(stem, g.experts, k, n) if experts == "nvfp4" else {stem: ("BF16", (g.experts, k, n))}
    return out


def attention_weights(geometry: Geometry) -> Iterator[str]:
    """Names of the q, k, v and o projection weights, layer by layer."""
    for layer in range(geometry.layers):
        for projection in PROJECTIONS:
            yield f"model.layers.{layer}.self_attn.{projection}.weight"


def kv_scales(geometry: Geometry) -> dict[str, Spec]:
    """The scales of a quantised KV cache, which an export may have on top: name → (dtype, shape)."""
    names = (("k_proj", "k_scale"), ("v_proj", "v_scale"))
    layers = range(geometry.layers)
    return {f"model.layers.{layer}.self_attn.{p}.{s}": ("F32", ()) for layer in layers for p, s in names}


def _linear(name: str, shape: tuple[int, int]) -> dict[str, Spec]:
    out, k = shape
    return {
        name + ".weight": ("U8", (out, k // 2)),
        name + ".weight_scale": ("F8_E4M3", (out, k // GROUP_SIZE)),
        name + ".weight_scale_2": ("F32", ()),
        name + ".input_scale": ("F32", ()),
    }


def _experts(stem: str, experts: int, k: int, n: int) -> dict[str, Spec]:
    return {
        stem: ("U8", (experts, k // 2, n)),
        stem + "_weight_scale": ("F8_E4M3", (experts, k // GROUP_SIZE, n)),
        stem + "_weight_scale_2": ("F32", ()),
        stem + "_input_scale": ("F32", ()),
    }
