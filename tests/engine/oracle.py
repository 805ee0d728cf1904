"""FP4 checkpoints decoded and encoded in a few lines of NumPy and ml_dtypes, without the code under test.

Weights of experts are [E, K, N] (in, out), those of Linears [N, K] (out, in), as the checkpoints have them.
"""

from __future__ import annotations

import copy
from pathlib import Path

import ml_dtypes
import numpy as np

from tests.inspection.variants import Tensors, Variant, read_tensors

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
Arrays = dict[str, np.ndarray]

# as openai/gpt-oss-120b has it (config.json)
MXFP4_CONFIG = {
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
    "quant_method": "mxfp4",
}


def tensors_in(folder: Path) -> Tensors:
    """Every tensor of a checkpoint folder; no name twice."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        there = read_tensors(path)
        assert not set(found) & set(there)
        found |= there
    return found


def arrays(tensors: Tensors) -> Arrays:
    return {name: array for name, (_, array) in tensors.items()}


def bf16(bits: np.ndarray) -> np.ndarray:
    return bits.view(ml_dtypes.bfloat16).astype(np.float32)


def bf16_bits(values: np.ndarray) -> np.ndarray:
    return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def codes(packed: np.ndarray, axis: int) -> np.ndarray:
    """The codes of each byte, low nibble first, along ``axis``."""
    stacked = np.stack([packed & 15, packed >> 4], axis=axis % packed.ndim + 1)
    shape = list(packed.shape)
    shape[axis] *= 2
    return stacked.reshape(shape)


def nvfp4(packed: np.ndarray, scale: np.ndarray, scale_2: np.ndarray, axis: int) -> np.ndarray:
    """value = E2M1 · fl32(E4M3 · scale_2), K along ``axis``; code 8 is +0.0, as ModelOpt's own table has it."""
    factors = scale.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(scale_2)
    return np.where(np.arange(16) == 8, 0, E2M1)[codes(packed, axis)] * factors.repeat(16, axis=axis)


def mxfp4(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """[E, N, K/32, 16] and [E, N, K/32] → [E, N, K], in float64."""
    values = E2M1.astype(np.float64)[codes(blocks, -1)] * np.exp2(scales.astype(np.float64) - 127)[..., None]
    return values.reshape(*scales.shape[:-1], -1)


def to_mxfp4(weight_ENK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blocks and scales: the least power of two that clips nothing, nearest codes."""
    values = weight_ENK.astype(np.float64).reshape(*weight_ENK.shape[:-1], -1, 32)
    largest = np.abs(values).max(axis=-1)
    exponent = np.ceil(np.log2(np.where(largest > 0, largest, 1) / 6)).astype(int)
    scaled = values / np.exp2(exponent.astype(float))[..., None]
    magnitude = np.abs(scaled[..., None] - E2M1[:8] * np.sign(scaled[..., None])).argmin(axis=-1)
    nibble = (magnitude + 8 * (scaled < 0)).astype(np.uint8)
    return nibble[..., ::2] | nibble[..., 1::2] << 4, (exponent + 127).astype(np.uint8)


def dense(tensors: Arrays) -> Arrays:
    """Every weight as the float32 that it stands for, by the name of its module's weight; no scales."""
    found: Arrays = {}
    for name, array in tensors.items():
        if name.endswith("_blocks"):
            scales = tensors[name.removesuffix("_blocks") + "_scales"]
            found[name.removesuffix("_blocks")] = mxfp4(array, scales).swapaxes(-1, -2).astype(np.float32)
        elif f"{name}_weight_scale" in tensors:
            found[name] = nvfp4(array, tensors[f"{name}_weight_scale"], tensors[f"{name}_weight_scale_2"], -2)
        elif f"{name}_scale" in tensors:
            found[name] = nvfp4(array, tensors[f"{name}_scale"], tensors[f"{name}_scale_2"], -1)
        elif array.dtype == np.uint16:
            found[name] = bf16(array)
    return found


def mxfp4_of(bf16_source: Path) -> Variant:
    """A gpt-oss checkpoint in the layout of openai/gpt-oss-*: experts MXFP4, all else BF16."""
    variant = Variant.of(bf16_source)
    variant.config["quantization_config"] = copy.deepcopy(MXFP4_CONFIG)
    for name in [name for name in variant.tensors if name.endswith(("gate_up_proj", "down_proj"))]:
        _, bits = variant.tensors.pop(name)
        blocks, scales = to_mxfp4(bf16(bits).swapaxes(-1, -2))
        variant.tensors[f"{name}_blocks"], variant.tensors[f"{name}_scales"] = ("U8", blocks), ("U8", scales)
    return variant


def broken_by_0_35(export: Path, bf16_source: Path) -> Variant:
    """What ModelOpt 0.35 wrote: block maxima of [E, K, N] along N, [E, K, N/16] instead of [E, K/16, N]."""
    variant, weights = Variant.of(export), tensors_in(bf16_source)
    variant.set_version("0.35.1")
    for name in [name for name in variant.tensors if name.endswith("_proj_weight_scale")]:
        weight = bf16(weights[name.removesuffix("_weight_scale")][1])
        largest = np.abs(weight).reshape(*weight.shape[:-1], -1, 16).max(axis=-1)
        scale = largest / (np.float32(6) * variant.tensors[f"{name}_2"][1])
        variant.tensors[name] = ("F8_E4M3", scale.astype(ml_dtypes.float8_e4m3fn).view(np.uint8))
    return variant
