"""Read a ModelOpt NVFP4 gpt-oss export back as FP32, and check its names, types and shapes.

value = E2M1[code] · (float32(block scale) · tensor scale), all in FP32. The low nibble holds the even element.
Blocks and nibble pairs run along the input axis: the last of a Linear, the middle of fused experts [expert, in, out].
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float32)
BLOCK = 16


def load(folder: Path) -> dict[str, Tensor]:
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def decode(packed: Tensor, block_scale: Tensor, tensor_scale: Tensor) -> Tensor:
    """[..., out, in/2] and [..., out, in/16] to [..., out, in]."""
    codes = torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2).long()
    scale = (block_scale.float() * tensor_scale).repeat_interleave(BLOCK, dim=-1)
    return E2M1[codes] * scale


def dequantized(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in FP32 under the names of the unquantised model."""
    state = {}
    for name, value in tensors.items():
        if value.dtype == torch.uint8:
            fused = ".experts." in name
            stem = f"{name}_" if fused else name.removesuffix("weight")
            scales = tensors[f"{stem}weight_scale"], tensors[f"{stem}weight_scale_2"]
            if fused:
                state[name] = decode(value.mT, scales[0].mT, scales[1]).mT.contiguous()
            else:
                state[name] = decode(value, *scales)
        elif value.dtype == torch.bfloat16:
            state[name] = value.float()
    return state


def expected(config: dict) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Every tensor of the NVFP4_DEFAULT_CFG layout (attention packed) that ModelOpt 0.37.0 writes."""
    hidden, inter, experts = config["hidden_size"], config["intermediate_size"], config["num_local_experts"]
    heads, kv, vocab = config["num_attention_heads"], config["num_key_value_heads"], config["vocab_size"]
    q, kv = heads * config["head_dim"], kv * config["head_dim"]
    u8, f8, f32, bf16 = torch.uint8, torch.float8_e4m3fn, torch.float32, torch.bfloat16
    want = {"model.embed_tokens.weight": (bf16, (vocab, hidden)), "lm_head.weight": (bf16, (vocab, hidden))}
    want["model.norm.weight"] = (bf16, (hidden,))
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            want[f"{at}{norm}.weight"] = (bf16, (hidden,))
        want[f"{at}self_attn.sinks"] = (bf16, (heads,))
        want[f"{at}mlp.router.weight"] = (bf16, (experts, hidden))
        want[f"{at}mlp.router.bias"] = (bf16, (experts,))
        for letter, out, inner in (("q", q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)):
            stem = f"{at}self_attn.{letter}_proj."
            want[f"{stem}weight"] = (u8, (out, inner // 2))
            want[f"{stem}weight_scale"] = (f8, (out, inner // BLOCK))
            want[f"{stem}weight_scale_2"] = want[f"{stem}input_scale"] = (f32, ())
            want[f"{stem}bias"] = (bf16, (out,))
        for name, inner, out in (("gate_up_proj", hidden, 2 * inter), ("down_proj", inter, hidden)):
            stem = f"{at}mlp.experts.{name}"
            want[stem] = (u8, (experts, inner // 2, out))
            want[f"{stem}_weight_scale"] = (f8, (experts, inner // BLOCK, out))
            want[f"{stem}_weight_scale_2"] = want[f"{stem}_input_scale"] = (f32, ())
            want[f"{stem}_bias"] = (bf16, (experts, out))
    return want


def check(folder: Path) -> None:
    """Raise unless the export has exactly the expected tensors, real scales and the expected exclude list."""
    tensors = load(folder)
    want = expected(json.loads((folder / "config.json").read_text()))
    have = {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    if have != want:
        raise ValueError(f"unexpected tensors: {sorted(set(have.items()) ^ set(want.items()), key=str)[:8]}")
    quantization = json.loads((folder / "hf_quant_config.json").read_text())["quantization"]
    facts = {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": BLOCK, "exclude_modules": ["lm_head"]}
    if quantization != facts:
        raise ValueError(f"hf_quant_config.json says {quantization}, expected {facts}")
    fallback = 0.5 / 2688  # what ModelOpt writes for an activation that calibration never saw
    for name, value in tensors.items():
        magnitude = value.view(torch.uint8) & 0x7F if value.dtype == torch.float8_e4m3fn else None
        if magnitude is not None and bool(((magnitude == 0) | (magnitude == 0x7F)).any()):
            raise ValueError(f"{name}: an underflowing or NaN block scale")
        if value.dtype == torch.float32 and not (value > 0 and value.isfinite() and abs(value - fallback) > 1e-9):
            raise ValueError(f"{name}: {value.item()} is not a calibrated scale")
    downs = [n for n in tensors if n.endswith("down_proj_input_scale")]
    if any(tensors[n] == tensors[n.replace("down_proj", "gate_up_proj")] for n in downs):
        raise ValueError("a down_proj_input_scale was copied from gate_up_proj")
