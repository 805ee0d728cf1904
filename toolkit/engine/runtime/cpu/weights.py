"""A gpt-oss checkpoint folder as ``numerics.gpt_oss.Weights``.

Reads what ModelOpt exports (attention NVFP4 or BF16), what ``trtkit engine`` rewrites, and the BF16 source model: each
tensor's dtype decides. Precision and the handling of experts are settled here; the forward pass knows neither.

Axes: E experts, H hidden, F = 2·intermediate, G intermediate, O outputs, I inputs, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.cpu.tensors import (
    Packed,
    RoutedExperts,
    is_packed,
    read_experts,
    read_linear,
    read_plain,
    read_raw,
)
from toolkit.errors import CheckpointError
from toolkit.models.gpt_oss import ARCHITECTURE
from toolkit.numerics.gpt_oss import GptOssConfig, Layer, Weights
from toolkit.numerics.ops import F32, Experts, ExpertWeight, Linear

Precision = Literal["w4a16", "w4a4"]
ExpertStorage = Literal["dense", "routed"]

HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"


def read_config(checkpoint: Checkpoint) -> GptOssConfig:
    """Raises CheckpointError for an architecture that this runtime does not know."""
    named = checkpoint.config.get("architectures")
    if named != [ARCHITECTURE]:
        raise CheckpointError(
            f"architectures is {named!r}, which the cpu runtime does not know",
            where=str(checkpoint.path("config.json")),
            hint=f"Known: {ARCHITECTURE}",
        )
    return GptOssConfig.from_dict(checkpoint.config)


def load_weights(
    checkpoint: Checkpoint, config: GptOssConfig, *, precision: Precision, experts: ExpertStorage
) -> Weights:
    """All weights in float32; with ``experts`` "routed", NVFP4 experts stay packed in the mapped files.

    Raises CheckpointError for a tensor that is missing, misshapen or holds scales that no quantiser writes, and, with
    ``precision`` "w4a4", for a checkpoint that has no NVFP4 tensor or lacks an ``input_scale``.
    """
    return _Loader(checkpoint, config, precision, experts).weights()


@dataclass(frozen=True, slots=True)
class _Loader:
    checkpoint: Checkpoint
    config: GptOssConfig
    precision: Precision
    experts: ExpertStorage

    def weights(self) -> Weights:
        config, checkpoint = self.config, self.checkpoint
        table = (config.vocab_size, config.hidden_size)
        if self.precision == "w4a4" and not any(info.dtype == "U8" for info in checkpoint.tensors.values()):
            hint = "Type: --set engine.precision=w4a16"
            raise CheckpointError(
                "w4a4 needs NVFP4 weights, but none are here", where=str(checkpoint.folder), hint=hint
            )
        tied = HEAD not in checkpoint.tensors and checkpoint.config.get("tie_word_embeddings", False)
        return Weights(
            embedding_VH=read_raw(checkpoint, EMBEDDING, table),
            layers=tuple(self._layer(f"model.layers.{number}.") for number in range(len(config.windows))),
            final_norm_H=self._plain("model.norm.weight", config.hidden_size),
            head=Linear(read_plain(checkpoint, EMBEDDING if tied else HEAD, table)),
        )

    def _layer(self, prefix: str) -> Layer:
        config, attention = self.config, f"{prefix}self_attn."
        queries, keys = (count * config.head_dim for count in (config.num_heads, config.num_kv_heads))
        qkv = tuple(
            self._linear(f"{attention}{name}_proj", width, config.hidden_size)
            for name, width in (("q", queries), ("k", keys), ("v", keys))
        )
        return Layer(
            input_norm_H=self._plain(f"{prefix}input_layernorm.weight", config.hidden_size),
            qkv=_fused(qkv),
            sinks_N=self._plain(f"{attention}sinks", config.num_heads),
            output=self._linear(f"{attention}o_proj", config.hidden_size, queries),
            post_norm_H=self._plain(f"{prefix}post_attention_layernorm.weight", config.hidden_size),
            router=self._linear(f"{prefix}mlp.router", config.num_experts, config.hidden_size),
            experts=self._experts(f"{prefix}mlp.experts."),
        )

    def _plain(self, name: str, *shape: int) -> F32:
        return read_plain(self.checkpoint, name, shape)

    def _linear(self, prefix: str, outputs: int, inputs: int) -> Linear:
        weight, bias = f"{prefix}.weight", f"{prefix}.bias"
        bias_O = self._plain(bias, outputs) if self._has_bias(bias) else None
        if not is_packed(self.checkpoint, weight):
            return Linear(self._plain(weight, outputs, inputs), bias_O)
        packed = read_linear(self.checkpoint, prefix, outputs, inputs)
        return Linear(packed.dequantized(), bias_O, self._input_scale(packed, f"{prefix}.input_scale"))

    def _has_bias(self, name: str) -> bool:
        return name in self.checkpoint.tensors or self.checkpoint.config.get("attention_bias", True)

    def _input_scale(self, packed: Packed, name: str) -> float | None:
        if self.precision == "w4a16":
            return None
        if packed.input_scale is None:
            hint = "w4a4 needs it. Calibrate again, or type: --set engine.precision=w4a16"
            raise CheckpointError(f"tensor {name!r} is missing", where=str(self.checkpoint.folder), hint=hint)
        return packed.input_scale

    def _experts(self, prefix: str) -> Experts:
        hidden, inner = self.config.hidden_size, self.config.intermediate_size
        gate_up, gate_up_scale = self._expert_weight(f"{prefix}gate_up_proj", hidden, 2 * inner)
        down, down_scale = self._expert_weight(f"{prefix}down_proj", inner, hidden)
        return Experts(
            gate_up=gate_up,
            gate_up_bias_EF=self._plain(f"{prefix}gate_up_proj_bias", self.config.num_experts, 2 * inner),
            down=down,
            down_bias_EH=self._plain(f"{prefix}down_proj_bias", self.config.num_experts, hidden),
            gate_up_input_scale=gate_up_scale,
            down_input_scale=down_scale,
        )

    def _expert_weight(self, name: str, inputs: int, outputs: int) -> tuple[ExpertWeight, float | None]:
        count = self.config.num_experts
        if not is_packed(self.checkpoint, name):
            return _transposed(self._plain(name, count, inputs, outputs)), None
        packed = read_experts(self.checkpoint, name, count, inputs, outputs)
        input_scale = self._input_scale(packed, f"{name}_input_scale")
        routed = RoutedExperts(packed)
        return (routed if self.experts == "routed" else _dense(routed, count, inputs, outputs)), input_scale


def _dense(routed: RoutedExperts, count: int, inputs: int, outputs: int) -> F32:
    """[E, O, I] in float32, one expert at a time."""
    dense_EOI = np.empty((count, outputs, inputs), np.float32)
    for expert in range(count):
        dense_EOI[expert] = routed[expert]
    return dense_EOI


def _transposed(stored_EIO: F32) -> F32:
    return np.ascontiguousarray(stored_EIO.transpose(0, 2, 1))


def _fused(parts: tuple[Linear, ...]) -> tuple[Linear, ...]:
    """One Linear instead of three, where all quantise their common input alike and all (or none) have a bias."""
    biases = [part.bias_O for part in parts if part.bias_O is not None]
    if len({part.input_scale for part in parts}) > 1 or len(biases) not in (0, len(parts)):
        return parts
    weight_OI = np.concatenate([part.weight_OI for part in parts])
    return (Linear(weight_OI, np.concatenate(biases) if biases else None, parts[0].input_scale),)
