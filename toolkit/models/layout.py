"""Which gpt-oss layout a checkpoint's tensors have, and whether they all fit it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.checkpoint.safetensors import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.gpt_oss import GROUP_SIZE, Format, Geometry, Spec, attention_weights, tensors


@dataclass(frozen=True, slots=True)
class Layout:
    """How the two kinds of large weights are stored."""

    attention: Format
    experts: Format


def match(found: Mapping[str, TensorInfo], geometry: Geometry) -> Layout:
    """The layout of ``found``, every tensor checked against it by name, dtype and shape.

    KV-cache scales (``k_proj.k_scale``, ``v_proj.v_scale``) may come on top. Raises ``CheckpointError`` naming the
    first tensor that is missing, unknown, or of another dtype or shape.
    """
    layout = Layout(
        attention=_stored(found, attention_weights(geometry).__next__()),
        experts=_stored(found, "model.layers.0.mlp.experts.gate_up_proj"),
    )
    expected = tensors(geometry, attention=layout.attention, experts=layout.experts)
    for name, spec in expected.items():
        if name not in found:
            raise CheckpointError(f"tensor {name!r} is missing", where=_where(found), hint=_partial_hint(name))
        _check(found[name], spec)
    for name, info in found.items():
        if name not in expected and not is_kv_scale(name):
            near = difflib.get_close_matches(name, expected, n=1)
            hint = f"Did the export mean {near[0]!r}?" if near else "trtkit does not know what it is for"
            raise CheckpointError(f"unknown tensor {name!r}", where=info.shard, hint=hint)
    return layout


def is_kv_scale(name: str) -> bool:
    """Whether ``name`` is the FP32 scalar scale of a quantised KV cache."""
    return name.endswith((".self_attn.k_proj.k_scale", ".self_attn.v_proj.v_scale"))


def _stored(found: Mapping[str, TensorInfo], name: str) -> Format:
    info = found.get(name)
    if info is None:
        raise CheckpointError(f"tensor {name!r} is missing", where=_where(found), hint=_partial_hint(name))
    return "nvfp4" if info.dtype == "U8" else "bf16"


def _check(info: TensorInfo, spec: Spec) -> None:
    if (info.dtype, info.shape) == spec:
        return
    where = f"{info.shard}: {info.name}"
    found, wanted = f"{info.dtype} {list(info.shape)}", f"{spec[0]} {list(spec[1])}"
    hint = None
    if info.name.endswith("_weight_scale") and len(info.shape) == 3 and _is_untransposed(info.shape, spec[1]):
        hint = "Block scales run along out: the defect of ModelOpt 0.35.0 and 0.35.1; export again with 0.37 or later"
    raise CheckpointError(f"the tensor is {found}, not {wanted}", where=where, hint=hint)


def _is_untransposed(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    experts, k_blocks, n = wanted
    return found == (experts, k_blocks * GROUP_SIZE, n // GROUP_SIZE)


def _where(found: Mapping[str, TensorInfo]) -> str:
    return f"{len({info.shard for info in found.values()})} shard(s), {len(found)} tensors"


def _partial_hint(name: str) -> str:
    if name.endswith("input_scale"):
        return "The export has no activation scale; calibrate it again with ModelOpt"
    return "Is the download complete?"
