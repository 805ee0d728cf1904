"""Which part of a checkpoint each GPU holds, and the bytes of the one that holds most.

As TensorRT-LLM's PyTorch backend splits a model over ``tp · pp`` ranks, with MoE tensor parallel ``tp / ep``:

=============  =======================================================================================================
q, k, v        by heads (out); with more ranks than KV heads each rank has a copy of one
o, down        by input channels; the bias is whole on every rank
gate, up       by output channels
experts        whole experts over ``ep``, then channels as above over MoE tensor parallel
sinks          by heads
embedding      by vocabulary, and ``lm_head`` alike
layers         over ``pp``, the first ranks one more where it does not come out even; the embedding is on the first
               rank, the final norm and ``lm_head`` on the last
=============  =======================================================================================================

Norms, routers and scalars are whole on every rank. With attention data parallelism, attention, embedding and
``lm_head`` are whole; a dense FFN is then counted whole as well, which is an upper bound. gpt-oss's NVFP4 loader casts
expert biases to FP32 (``modeling_gpt_oss.py``: "Only fp32 bias is supported for NVFP4 MoE"). The padding that a kernel
may add is not known from outside and not counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Literal

from toolkit.checkpoint.header import itemsize
from toolkit.errors import CheckpointError
from toolkit.models.geometry import Geometry, Spec

Part = Literal["embedding", "attention", "ffn", "router", "norm"]
EMBEDDING = "model.embed_tokens.weight"
_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_EXPERT = re.compile(r"\.mlp\.experts\.(\d+)\.")
_PARTS: tuple[tuple[re.Pattern[str], Part], ...] = (
    (re.compile(r"model\.embed_tokens\.|lm_head\."), "embedding"),
    (re.compile(r"model\.layers\.\d+\.self_attn\."), "attention"),
    (re.compile(r"model\.layers\.\d+\.mlp\.(router|gate)\."), "router"),
    (re.compile(r"model\.layers\.\d+\.mlp\."), "ffn"),
    (re.compile(r"model\.norm\.|model\.layers\.\d+\.(input|post_attention)_layernorm\."), "norm"),
)
# The axis of a fused expert tensor that MoE tensor parallelism splits; axis 0 holds the experts.
_FUSED_AXES: Mapping[str, int] = {
    "gate_up_proj": 2,
    "gate_up_proj_weight_scale": 2,
    "gate_up_proj_blocks": 1,
    "gate_up_proj_scales": 1,
    "gate_up_proj_bias": 1,
    "down_proj": 1,
    "down_proj_weight_scale": 1,
    "down_proj_blocks": 2,
    "down_proj_scales": 2,
}


@lru_cache(maxsize=1 << 14)
def part_of(name: str) -> Part:
    """What tensor ``name`` belongs to; raises ``CheckpointError`` for a name that no family has."""
    for pattern, part in _PARTS:
        if pattern.match(name):
            return part
    raise CheckpointError(f"tensor {name!r} belongs to no part of a model that trtkit knows")


def stages(layers: int, pp: int) -> list[range]:
    """The layers of each pipeline rank, as ``torch.tensor_split`` cuts them."""
    share, more = divmod(layers, pp)
    begins = [rank * share + min(rank, more) for rank in range(pp + 1)]
    return [range(begin, end) for begin, end in pairwise(begins)]


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's tensors, counted: those of one layer that differ only in their expert's number are one row.

    ``rows`` maps (name of one of them, shape, bytes of an element as loaded) to how many there are.
    """

    rows: Mapping[tuple[str, tuple[int, ...], int], int]

    @classmethod
    def of(cls, tensors: Mapping[str, Spec]) -> Weights:
        """``tensors``: name → (safetensors dtype, shape)."""
        rows: Counter[tuple[str, tuple[int, ...], int]] = Counter()
        for name, (dtype, shape) in tensors.items():
            rows[_alike(name), shape, _loaded_itemsize(name, dtype, tensors)] += 1
        return cls(rows)

    def rank_bytes(
        self, geometry: Geometry, *, tp: int = 1, pp: int = 1, ep: int = 1, attention_dp: bool = False
    ) -> int:
        """Bytes on the heaviest rank, as loaded. ``ep`` divides ``tp``; uneven shares are rounded up."""
        split = _Split(geometry, tp, ep, attention_dp)
        layers = [0] * geometry.layers
        first = last = 0
        for (name, shape, size), count in self.rows.items():
            nbytes = prod(split.shape(name, shape)) * size * (-(-count // ep) if _EXPERT.search(name) else 1)
            if layer := _LAYER.match(name):
                layers[int(layer[1])] += nbytes
            elif name == EMBEDDING:
                first += nbytes
            else:
                last += nbytes
        if geometry.tied and pp > 1:
            last += first
        ranks = [sum(layers[layer] for layer in stage) for stage in stages(geometry.layers, pp)]
        ranks[0] += first
        ranks[-1] += last
        return max(ranks)


def _alike(name: str) -> str:
    """``name`` with expert 0 in place of its own."""
    head, separator, tail = name.partition(".mlp.experts.")
    number, _, rest = tail.partition(".")
    return f"{head}{separator}0.{rest}" if number.isdecimal() else name


def _loaded_itemsize(name: str, dtype: str, tensors: Mapping[str, Spec]) -> int:
    is_nvfp4_bias = name.endswith("_bias") and name.removesuffix("_bias") + "_weight_scale" in tensors
    return itemsize("F32" if is_nvfp4_bias else dtype)


@dataclass(frozen=True, slots=True)
class _Split:
    """Cuts one tensor's shape to the share of the rank that holds most of it."""

    geometry: Geometry
    tp: int
    ep: int
    attention_dp: bool

    def shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        part = part_of(name)
        if not shape or part in ("norm", "router"):
            return shape
        if part == "ffn":
            return self._ffn(name, shape)
        if self.attention_dp:
            return shape
        return _cut(shape, 0, self.tp) if part == "embedding" else self._attention(name, shape)

    def _attention(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        module = name.split(".")[4]
        if module in ("k_proj", "v_proj"):
            heads = self.geometry.kv_heads
            return (shape[0] // heads * -(-heads // self.tp), *shape[1:])
        return _cut(shape, 0, self.tp) if module == "sinks" else _cut_linear(module, shape, self.tp)

    def _ffn(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not self.geometry.experts:
            return _cut_linear(name.split(".")[4], shape, 1 if self.attention_dp else self.tp)
        moe_tp = self.tp // self.ep
        if _EXPERT.search(name):
            return _cut_linear(name.split(".")[6], shape, moe_tp)
        experts = _cut(shape, 0, self.ep)
        axis = _FUSED_AXES.get(name.split(".")[5])
        return experts if axis is None else _cut(experts, axis, moe_tp)


def _cut_linear(module: str, shape: tuple[int, ...], ranks: int) -> tuple[int, ...]:
    """Weight or block scale [out, in], or bias [out]; a norm inside attention stays whole."""
    if module in ("q_proj", "gate_proj", "up_proj"):
        return _cut(shape, 0, ranks)
    return _cut(shape, 1, ranks) if module in ("o_proj", "down_proj") and len(shape) == 2 else shape


def _cut(shape: tuple[int, ...], axis: int, ranks: int) -> tuple[int, ...]:
    return (*shape[:axis], -(-shape[axis] // ranks), *shape[axis + 1 :])
