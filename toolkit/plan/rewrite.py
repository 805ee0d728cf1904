"""Actions by source tensor: what the bundle's formats and the checkpoint's defects ask to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo
from toolkit.models.geometry import Geometry
from toolkit.models.layout import Layout
from toolkit.numerics import mxfp4, nvfp4
from toolkit.plan.types import Action, ShardPlan

REASONS = {
    "same": "The target reads this tensor as it is stored.",
    "bf16-attention": (
        "TensorRT-LLM's gpt-oss loader builds q, k, v and o in BF16, whatever the checkpoint's exclude list says."
    ),
    "bf16-weights": "The recipe asks for BF16 weights, which every target computes.",
    "unused-scale": "A BF16 projection has no block, global or input scale.",
    "to-mxfp4": "Experts become MXFP4: each block of 32 gets the power-of-two scale of least error.",
    "unused-kv-scale": "The bundle's JSON asks for no quantised KV cache, so nothing reads its scales.",
    "no-scale-in-mxfp4": "MXFP4 has one power-of-two scale a block, and no global or input scale.",
    "to-nvfp4": "The recipe asks for NVFP4: codes stay, two block scales and a global one replace each MXFP4 scale.",
    "input-scale": "The cast has no calibration; 1.0 covers activations up to 2688, as a recipe of ModelOpt pins it.",
    "taken-input-scale": "Taken from the calibrated export in checkpoint.input_scales.",
    "no-input-scale": "The export lacks the activation scale that the loader reads; 1.0 covers values up to 2688.",
    "block-scales": "ModelOpt 0.35 wrote block scales along the wrong axis; checkpoint.bf16 gives them anew.",
    "compiled": "trtllm-build reads a TensorRT-LLM checkpoint: names, fused q/k/v and one file a rank.",
}
Changes = dict[str, tuple[Action, ...]]
"""Actions by the source tensor in whose place their outputs stand; a tensor that is not in it is kept."""


Shapes = Mapping[str, tuple[int, ...]]


def dequantize_linears(weights: Sequence[str], shapes: Shapes, why: str) -> Changes:
    """Packed Linear weights become BF16 [out, in] and their scales go. ``shapes`` are the packed ones."""
    changes: Changes = {}
    for name in weights:
        scales = (f"{name}_scale", f"{name}_scale_2")
        inputs = (name, *scales)
        out, half = shapes[name]
        changes[name] = (Action("dequantize", inputs, name, "BF16", (out, 2 * half), why),)
        for scale in (*scales, name.removesuffix("weight") + "input_scale"):
            changes[scale] = (Action("drop", (scale,), reason="unused-scale"),)
    return changes


def drop_kv_scales(names: Iterable[str]) -> Changes:
    """The scales of a quantised KV cache go."""
    return {name: (Action("drop", (name,), reason="unused-kv-scale"),) for name in names}


def experts_to_mxfp4(stems: Sequence[str], shapes: Shapes) -> Changes:
    """Fused NVFP4 experts U8 [E, K/2, N] become ``_blocks`` U8 [E, N, K/32, 16] and ``_scales`` U8 [E, N, K/32]."""
    changes: Changes = {}
    for stem in stems:
        experts, half, n = shapes[stem]
        blocks = (experts, n, 2 * half // mxfp4.BLOCK)
        scale, scale_2 = f"{stem}_weight_scale", f"{stem}_weight_scale_2"
        inputs = (stem, scale, scale_2)
        changes[stem] = (Action("transcode", inputs, f"{stem}_blocks", "U8", (*blocks, mxfp4.BLOCK // 2), "to-mxfp4"),)
        changes[scale] = (Action("transcode", inputs, f"{stem}_scales", "U8", blocks, "to-mxfp4"),)
        for name in (scale_2, f"{stem}_input_scale"):
            changes[name] = (Action("drop", (name,), reason="no-scale-in-mxfp4"),)
    return changes


def experts_to_nvfp4(stems: Sequence[str], shapes: Shapes, *, take_scales: bool) -> Changes:
    """Fused MXFP4 experts become U8 [E, K/2, N], ``_weight_scale`` F8_E4M3 [E, K/16, N] and two F32 scalars."""
    changes: Changes = {}
    for stem in stems:
        blocks, scales = f"{stem}_blocks", f"{stem}_scales"
        experts, n, count, _ = shapes[blocks]
        k = count * mxfp4.BLOCK
        inputs, input_scale = (blocks, scales), f"{stem}_input_scale"
        changes[blocks] = (Action("cast", inputs, stem, "U8", (experts, k // 2, n), "to-nvfp4"),)
        changes[scales] = (
            Action("cast", inputs, f"{stem}_weight_scale", "F8_E4M3", (experts, k // nvfp4.BLOCK, n), "to-nvfp4"),
            Action("cast", inputs, f"{stem}_weight_scale_2", "F32", (), "to-nvfp4"),
            take(input_scale) if take_scales else fill_one(input_scale, "input-scale"),
        )
    return changes


def take(name: str) -> Action:
    """An input scale from ``checkpoint.input_scales``."""
    return Action("take", (), name, "F32", (), "taken-input-scale", borrowed=(name,), origin="input_scales")


def fill_one(name: str, why: str) -> Action:
    """An input scale of 1.0: amax 2688 (facts of ModelOpt's nvfp4_experts_only_input_scale1 recipe)."""
    return Action("fill", (), name, "F32", (), why, value=1.0)


def rescale(name: str, packed: str, shape: tuple[int, ...]) -> Action:
    """Block scales ``name`` of ``packed`` from the BF16 weight of the same name, with the stored global scale."""
    inputs = (packed, f"{name}_2")
    return Action("rescale", inputs, name, "F8_E4M3", shape, "block-scales", borrowed=(packed,), origin="bf16")


def expert_stems(geometry: Geometry) -> list[str]:
    """Names of gpt-oss's fused expert weights, layer by layer."""
    layers = range(geometry.layers)
    return [f"model.layers.{layer}.mlp.experts.{name}" for layer in layers for name in ("gate_up_proj", "down_proj")]


def source_shards(census: Census, changes: Changes) -> tuple[ShardPlan, ...]:
    """The checkpoint's shards with ``changes``, tensors in source order."""
    by_shard: dict[str, list[Action]] = {shard: [] for shard in census.shards}
    for info in sorted(census.tensors.values(), key=attrgetter("begin")):
        by_shard[info.shard] += changes.get(info.name) or (keep(info),)
    return tuple(ShardPlan(file, tuple(actions)) for file, actions in by_shard.items())


def reasons_of(shards: Sequence[ShardPlan]) -> dict[str, str]:
    """The sentences of the reasons that actions name."""
    used = {action.reason for shard in shards for action in shard.actions}
    return {key: text for key, text in REASONS.items() if key in used}


def keep(info: TensorInfo) -> Action:
    return Action("keep", (info.name,), info.name, info.dtype, info.shape, "same")


def is_lossy(stored: Layout, bundle: Layout) -> bool:
    """Whether the FP4 format changes: NVFP4 → MXFP4 has coarser scales.

    A cast is counted exact until the build finds a block that is not; rounding to BF16 is no change of FP4 format
    and is said in a note.
    """
    return stored.ffn == "nvfp4" and bundle.ffn == "mxfp4"


def is_rounded(stored: Layout, bundle: Layout) -> bool:
    """Whether NVFP4 weights are decoded to BF16, which has 8 bits for what may need 30."""
    parts = ((stored.attention, bundle.attention), (stored.ffn, bundle.ffn))
    return ("nvfp4", "bf16") in parts
