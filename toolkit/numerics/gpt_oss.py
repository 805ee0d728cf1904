"""The gpt-oss model: its geometry, its weights and the forward pass of one whole sequence.

Axes: T tokens, H hidden, N query heads, J KV heads, Q = N/J query heads per KV head, D head_dim, V vocabulary.
Layer: x += o(attention(rope(qkv(norm(x))))), then x += experts(norm(x)) with a router; sliding layers see the last
``window`` tokens, the token itself included. Source: transformers 4.56 ``modeling_gpt_oss``.

``forward`` keeps no cache; the CPU runtime composes the same functions with one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import CheckpointError
from toolkit.numerics import bf16
from toolkit.numerics.ops import F32, Experts, Linear, attend, linear, mix_experts, rms_norm, route
from toolkit.numerics.rope import Rope, rotate, tables


@dataclass(frozen=True, slots=True)
class GptOssConfig:
    """Sizes and constants; ``windows`` has one entry a layer, None for full attention."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_experts: int
    experts_per_token: int
    windows: tuple[int | None, ...]
    rms_eps: float
    swiglu_limit: float
    rope: Rope

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> GptOssConfig:
        """Read a ``config.json`` of transformers 4.55 or later. Raises CheckpointError for what is missing or odd."""
        hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
        head_dim = int(config.get("head_dim") or hidden // heads)
        found = cls(
            vocab_size=_size(config, "vocab_size"),
            hidden_size=hidden,
            intermediate_size=_size(config, "intermediate_size"),
            num_heads=heads,
            num_kv_heads=_size(config, "num_key_value_heads"),
            head_dim=head_dim,
            num_experts=_size(config, "num_local_experts", "num_experts"),
            experts_per_token=_size(config, "num_experts_per_tok", "experts_per_token"),
            windows=_windows(config),
            rms_eps=float(config.get("rms_norm_eps", 1e-5)),
            swiglu_limit=float(config.get("swiglu_limit", 7.0)),
            rope=Rope.from_config(config, head_dim),
        )
        if heads % found.num_kv_heads or found.experts_per_token > found.num_experts:
            what = "num_attention_heads is not a multiple of num_key_value_heads, or more experts a token than exist"
            raise CheckpointError(what, where="config.json")
        return found


def _size(config: Mapping[str, Any], *keys: str) -> int:
    value = next((config[key] for key in keys if key in config), None)
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{keys[0]!r} is {value!r}, not a size", where="config.json")
    return value


def _windows(config: Mapping[str, Any]) -> tuple[int | None, ...]:
    layers = _size(config, "num_hidden_layers")
    kinds = config.get("layer_types") or [("sliding_attention", "full_attention")[n % 2] for n in range(layers)]
    if len(kinds) != layers or not set(kinds) <= {"sliding_attention", "full_attention"}:
        what = f"layer_types does not name sliding_attention or full_attention for each of {layers} layers"
        raise CheckpointError(what, where="config.json")
    window = _size(config, "sliding_window") if "sliding_attention" in kinds else None
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's weights. ``qkv`` is one fused Linear, or three where their input scales differ."""

    input_norm_H: F32
    qkv: tuple[Linear, ...]
    sinks_N: F32
    output: Linear
    post_norm_H: F32
    router: Linear
    experts: Experts


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole model; the embedding may stay BF16 bits, since only the rows of the tokens are read."""

    embedding_VH: F32 | NDArray[np.uint16]
    layers: tuple[Layer, ...]
    final_norm_H: F32
    head: Linear


def embed(tokens_T: NDArray[np.integer[Any]], weights: Weights) -> F32:
    """[T, H]."""
    rows_TH = weights.embedding_VH[tokens_T]
    return bf16.to_f32(rows_TH) if rows_TH.dtype == np.uint16 else rows_TH


def project_qkv(x_TH: F32, layer: Layer, config: GptOssConfig, cos: F32, sin: F32) -> tuple[F32, F32, F32]:
    """Norm, project, rotate: q [T, N, D] scaled by 1/√D, k [T, J, D], v [T, J, D]. ``cos``, ``sin``: see rope."""
    normed_TH = rms_norm(x_TH, layer.input_norm_H, config.rms_eps)
    parts = [linear(normed_TH, part) for part in layer.qkv]
    qkv_TND = (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)).reshape(len(x_TH), -1, config.head_dim)
    rotated = config.num_heads + config.num_kv_heads
    qk_TND = rotate(qkv_TND[:, :rotated], cos, sin)
    q_TND = qk_TND[:, : config.num_heads]
    q_TND *= np.float32(1 / math.sqrt(config.head_dim))
    return q_TND, qk_TND[:, config.num_heads :], qkv_TND[:, rotated:]


def feed_forward(x_TH: F32, layer: Layer, config: GptOssConfig) -> F32:
    """What the experts add to the residual stream [T, H]."""
    normed_TH = rms_norm(x_TH, layer.post_norm_H, config.rms_eps)
    chosen_TK, share_TK = route(linear(normed_TH, layer.router), config.experts_per_token)
    return mix_experts(normed_TH, layer.experts, chosen_TK, share_TK, config.swiglu_limit)


def head_logits(x_TH: F32, weights: Weights, config: GptOssConfig) -> F32:
    """[T, V]."""
    return linear(rms_norm(x_TH, weights.final_norm_H, config.rms_eps), weights.head)


def causal_bias(queries: int, keys: int, window: int | None) -> F32:
    """0 or -inf [queries, keys] for queries that are the last of ``keys`` consecutive tokens."""
    distance = np.arange(keys - queries, keys)[:, None] - np.arange(keys)
    hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
    return np.where(hidden, np.float32(-np.inf), np.float32(0))


def forward(tokens_T: NDArray[np.integer[Any]], weights: Weights, config: GptOssConfig) -> F32:
    """Logits of every position of one sequence [T, V]; memory grows with T²."""
    cos, sin = tables(config.rope, len(tokens_T))
    x_TH = embed(tokens_T, weights)
    for layer, window in zip(weights.layers, config.windows, strict=True):
        q_TND, k_TJD, v_TJD = project_qkv(x_TH, layer, config, cos, sin)
        bias_TT = causal_bias(len(tokens_T), len(tokens_T), window)
        x_TH = x_TH + linear(attend_sequence(q_TND, k_TJD, v_TJD, layer.sinks_N, bias_TT), layer.output)
        x_TH = x_TH + feed_forward(x_TH, layer, config)
    return head_logits(x_TH, weights, config)


def attend_sequence(q_SND: F32, k_TJD: F32, v_TJD: F32, sinks_N: F32, bias_ST: F32) -> F32:
    """S queries of one sequence over its T keys [S, N·D]."""
    queries, heads, width = q_SND.shape
    shared = k_TJD.shape[1]
    q_JQSD = q_SND.transpose(1, 0, 2).reshape(shared, heads // shared, queries, width)
    k_J1TD, v_J1TD = k_TJD.transpose(1, 0, 2)[:, None], v_TJD.transpose(1, 0, 2)[:, None]
    out_JQSD = attend(q_JQSD, k_J1TD, v_J1TD, sinks_N.reshape(shared, -1, 1), bias_ST)
    return out_JQSD.transpose(2, 0, 1, 3).reshape(queries, heads * width)
