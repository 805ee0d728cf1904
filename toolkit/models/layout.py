"""Which gpt-oss layout a checkpoint's tensors have, and whether they all fit it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.checkpoint.safetensors import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.gpt_oss import (
    CONFIG_HINT,
    GROUP_SIZE,
    Format,
    Geometry,
    Spec,
    attention_weights,
    kv_scales,
    tensors,
)

EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"
MXFP4_HINT = (
    "TensorRT-LLM serves MXFP4 as it is, without trtkit; for NVFP4, export it with ModelOpt 0.45 or later: "
    "hf_ptq.py --qformat nvfp4_mlp_only --cast_mxfp4_to_nvfp4"
)

UNKNOWN_HINT = "trtkit knows what ModelOpt exports of GptOssForCausalLM; export the checkpoint again without it"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the two kinds of large weights are stored."""

    attention: Format
    experts: Format


def match(found: Mapping[str, TensorInfo], geometry: Geometry, where: str) -> Layout:
    """The layout of ``found``, every tensor checked against it by name, dtype and shape.

    KV-cache scales may come on top. Raises ``CheckpointError`` naming the checkpoint (``where``) and the first tensor
    that is missing, unknown, or of another dtype or shape.
    """
    if geometry.layers > len(found):
        what = f"num_hidden_layers is {geometry.layers}, but there are {len(found)} tensors in all"
        raise CheckpointError(what, where=where, hint=CONFIG_HINT)
    if f"{EXPERTS}_blocks" in found:
        raise CheckpointError("the experts are MXFP4, not NVFP4", where=where, hint=MXFP4_HINT)
    layout = Layout(
        attention=_stored(found, next(attention_weights(geometry)), where), experts=_stored(found, EXPERTS, where)
    )
    expected = tensors(geometry, attention=layout.attention, experts=layout.experts)
    for name, spec in expected.items():
        if name not in found:
            raise _missing(name, where)
        _check(found[name], spec, where)
    extra = kv_scales(geometry)
    for name, info in found.items():
        if name in extra:
            _check(info, extra[name], where)
        elif name not in expected:
            near = difflib.get_close_matches(name, expected, n=1)
            hint = f"Did the export mean {near[0]!r}?" if near else UNKNOWN_HINT
            raise CheckpointError(f"unknown tensor {name!r}", where=f"{where}/{info.shard}", hint=hint)
    return layout


def _stored(found: Mapping[str, TensorInfo], name: str, where: str) -> Format:
    if name not in found:
        raise _missing(name, where)
    return "nvfp4" if found[name].dtype == "U8" else "bf16"


def _missing(name: str, where: str) -> CheckpointError:
    hint = "Is the download complete, and num_hidden_layers in config.json right?"
    if name.endswith("input_scale"):
        hint = "The export has no activation scale; calibrate it again with ModelOpt"
    return CheckpointError(f"tensor {name!r} is missing", where=where, hint=hint)


def _check(info: TensorInfo, spec: Spec, where: str) -> None:
    if (info.dtype, info.shape) == spec:
        return
    found, wanted = f"{info.dtype} {list(info.shape)}", f"{spec[0]} {list(spec[1])}"
    hint = CONFIG_HINT if info.dtype == spec[0] else "Export the checkpoint again with ModelOpt 0.37 or later"
    if info.name.endswith("_weight_scale") and len(info.shape) == 3 and _is_untransposed(info.shape, spec[1]):
        hint = "Block scales run along out: the defect of ModelOpt 0.35.0 and 0.35.1; export again with 0.37 or later"
    place = f"{where}/{info.shard}, tensor {info.name!r}"
    raise CheckpointError(f"is {found}, not {wanted}", where=place, hint=hint)


def _is_untransposed(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    experts, k_blocks, n = wanted
    return found == (experts, k_blocks * GROUP_SIZE, n // GROUP_SIZE)
