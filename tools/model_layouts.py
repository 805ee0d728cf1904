"""Remake tests/models/layouts.json: the tensors that transformers and NVIDIA ModelOpt really write.

Every size differs from every other where the architecture lets it, so that a transposed axis shows. Run::

    pip install -r tools/sample/requirements.txt
    python tools/model_layouts.py tests/models/layouts.json

Each entry: how it was made, its config.json, and name → [dtype, shape] from the safetensors headers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.quantization.qtensor import nvfp4_tensor
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.integrations.mxfp4 import Mxfp4GptOssExperts

DTYPES = {torch.bfloat16: "BF16", torch.uint8: "U8", torch.float32: "F32"}
SIZES = {"vocab_size": 320, "num_hidden_layers": 2, "hidden_size": 64, "max_position_embeddings": 256}
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16}
LLAMA = {**SIZES, **HEADS, "intermediate_size": 112}
QWEN = {
    **SIZES,
    **HEADS,
    "intermediate_size": 112,
    "moe_intermediate_size": 48,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
GPT_OSS = {**SIZES, **HEADS, "intermediate_size": 160, "num_local_experts": 3, "num_experts_per_tok": 2}
KEPT = {"architectures", "attention_bias", "mlp_bias", "tie_word_embeddings", "layer_types", "sliding_window"}
CASES: dict[str, tuple[Any, str | None]] = {
    "llama-bf16": (LlamaConfig(**LLAMA), None),
    "llama-bf16-tied": (LlamaConfig(**LLAMA, tie_word_embeddings=True), None),
    "llama-bf16-biases": (LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True), None),
    "llama-nvfp4": (LlamaConfig(**LLAMA), "NVFP4_DEFAULT_CFG"),
    "llama-nvfp4-tied": (LlamaConfig(**LLAMA, tie_word_embeddings=True), "NVFP4_DEFAULT_CFG"),
    "llama-nvfp4-mlp-only": (LlamaConfig(**LLAMA), "NVFP4_MLP_ONLY_CFG"),
    "llama-nvfp4-fp8-kv": (LlamaConfig(**LLAMA), "NVFP4_DEFAULT_CFG+FP8_KV_CFG"),
    "llama-fp8": (LlamaConfig(**LLAMA), "FP8_DEFAULT_CFG"),
    "qwen3-moe-bf16": (Qwen3MoeConfig(**QWEN), None),
    "qwen3-moe-nvfp4": (Qwen3MoeConfig(**QWEN), "NVFP4_DEFAULT_CFG"),
    "qwen3-moe-nvfp4-mlp-only": (Qwen3MoeConfig(**QWEN), "NVFP4_MLP_ONLY_CFG"),
    "qwen3-moe-nvfp4-fp8-kv": (Qwen3MoeConfig(**QWEN), "NVFP4_DEFAULT_CFG+FP8_KV_CFG"),
    "qwen3-moe-fp8": (Qwen3MoeConfig(**QWEN), "FP8_DEFAULT_CFG"),
    "gpt-oss-bf16": (GptOssConfig(**GPT_OSS), None),
    "gpt-oss-nvfp4": (GptOssConfig(**GPT_OSS), "NVFP4_DEFAULT_CFG"),
}
MODELS = {LlamaConfig: LlamaForCausalLM, Qwen3MoeConfig: Qwen3MoeForCausalLM, GptOssConfig: GptOssForCausalLM}


def build(config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = MODELS[type(config)](config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.to(torch.bfloat16).eval()


def export(model: PreTrainedModel, quantization: str | None, folder: str) -> None:
    if quantization is None:
        model.save_pretrained(folder)
        return
    names = quantization.split("+")
    config = {**getattr(mtq, names[0])}
    for name in names[1:]:
        config["quant_cfg"] = {**config["quant_cfg"], **getattr(mtq, name)["quant_cfg"]}
    ids = torch.randint(3, 320, (8, 128))
    mtq.quantize(model, config, lambda quantised: quantised(ids))
    export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=folder)


def headers(folder: Path) -> dict[str, list[Any]]:
    found = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        found |= {name: [entry["dtype"], entry["shape"]] for name, entry in header.items() if name != "__metadata__"}
    return dict(sorted(found.items()))


def mxfp4() -> dict[str, Any]:
    """gpt-oss with the experts module that transformers loads the published MXFP4 checkpoints into."""
    model = build(GptOssConfig(**GPT_OSS))
    for layer in model.model.layers:
        layer.mlp.experts = Mxfp4GptOssExperts(model.config)
    # The module allocates its biases in FP32 and casts at loading; the published files hold BF16.
    tensors = {
        name: ["BF16" if name.endswith("_bias") else DTYPES[tensor.dtype], list(tensor.shape)]
        for name, tensor in model.state_dict().items()
    }
    config = {**model.config.to_dict(), "architectures": ["GptOssForCausalLM"]}
    return entry("transformers Mxfp4GptOssExperts", config, dict(sorted(tensors.items())))


def entry(made: str, config: dict[str, Any], tensors: dict[str, list[Any]]) -> dict[str, Any]:
    wanted = KEPT | set(LLAMA) | set(QWEN) | set(GPT_OSS)
    return {"made": made, "config": {key: config[key] for key in sorted(config) if key in wanted}, "tensors": tensors}


def main() -> None:
    nvfp4_tensor.fp4_compatible = lambda: False  # ModelOpt 0.37.0 asks a CUDA device here, even without one
    cases = {}
    for case, (config, quantization) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            export(build(config), quantization, folder)
            saved = json.loads((Path(folder) / "config.json").read_text())
            made = quantization or "transformers save_pretrained"
            cases[case] = entry(made, saved, headers(Path(folder)))
    cases["gpt-oss-mxfp4"] = mxfp4()
    versions = {package: version(package) for package in ("torch", "transformers", "nvidia-modelopt")}
    Path(sys.argv[1]).write_text(json.dumps({"versions": versions, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
