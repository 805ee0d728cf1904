"""Published checkpoints whose tensors are known without reading their headers, so that a plan needs no download.

The sizes are those of each ``config.json``; the layout follows from the recipe or the files named at each entry. A plan
made from it is marked ``predicted``.

* gpt-oss-120b, -20b, Meta-Llama-3.1-8B, Qwen3-30B-A3B: ``config.json`` as the PyPI wheel aiconfigurator-core 0.12.0
  carries it (``model_configs/``).
* nvidia/Qwen3-30B-A3B: ``hf_quant_config.json`` in ai-dynamo/aiconfigurator @473ce5b6.
* nvidia/Llama-3.1-8B-Instruct: its JSON was not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo, itemsize
from toolkit.checkpoint.quant import quant_summary
from toolkit.checkpoint.source import CONFIG, GENERATION_CONFIG, INDEX, QUANT_CONFIG, SINGLE
from toolkit.models.geometry import Spec
from toolkit.models.gpt_oss import MXFP4_CONFIG
from toolkit.models.layout import Layout
from toolkit.models.registry import FAMILIES
from toolkit.numerics import nvfp4

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_experts_per_tok": 4,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "sliding_window": 128,
    "tie_word_embeddings": False,
}
_GPT_OSS_120B = {
    **_GPT_OSS,
    "num_hidden_layers": 36,
    "num_local_experts": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
}
_GPT_OSS_20B = {
    **_GPT_OSS,
    "num_hidden_layers": 24,
    "num_local_experts": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
}
_LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}
_QWEN3_30B = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "attention_bias": False,
    "sliding_window": None,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True, slots=True)
class Published:
    """One repository: what planning needs of its config.json, its tensors' formats and the files beside them."""

    config: Mapping[str, Any]
    layout: Layout
    files: tuple[str, ...]
    quant_config: Mapping[str, Any] | None = None
    kv_scales: bool = False

    def specs(self) -> dict[str, Spec]:
        """Every tensor: name → (safetensors dtype, shape)."""
        family = FAMILIES[self.config["architectures"][0]]
        geometry = family.geometry(self.config, "")
        return family.tensors(geometry, self.layout) | (family.kv_scales(geometry) if self.kv_scales else {})


def _nvfp4(
    config: Mapping[str, Any],
    exclude: Sequence[str],
    *,
    version: str | None,
    kv: str | None,
    files: tuple[str, ...] = (),
) -> Published:
    """An export of ModelOpt with ``NVFP4_DEFAULT_CFG``: every Linear of the layers is packed, attention included."""
    producer = {"name": "modelopt", **({"version": version} if version else {})}
    quantization = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": kv,
        "group_size": nvfp4.BLOCK,
        "exclude_modules": list(exclude),
    }
    inline = {"quant_algo": "NVFP4", "ignore": list(exclude), "producer": producer}
    return Published(
        config={**config, "quantization_config": inline},
        layout=Layout(attention="nvfp4", ffn="nvfp4"),
        files=(CONFIG, GENERATION_CONFIG, QUANT_CONFIG, INDEX, *files),
        quant_config={"producer": producer, "quantization": quantization},
        kv_scales=kv is not None,
    )


def _mxfp4(config: Mapping[str, Any]) -> Published:
    """As OpenAI published them: experts MXFP4, all else BF16; the sum of the tensors is what their index states."""
    files = (CONFIG, GENERATION_CONFIG, INDEX, *_TOKENIZER)
    return Published({**config, "quantization_config": MXFP4_CONFIG}, Layout("bf16", "mxfp4"), files)


# Card: ModelOpt 0.37.0, exclude_modules ["lm_head"], no KV quantisation; that exclude list means packed attention.
_FIRWORKS = _nvfp4(_GPT_OSS_120B, ["lm_head"], version="0.37.0", kv=None)
# Its two files have 6,027,861,376 bytes: to the byte this layout with KV scales, cut at 5 GB. That they are FP8 scales
# and not NVFP4 (the same tensors) is inferred from ModelOpt's default and from NVIDIA's other exports.
_LLAMA_NVFP4 = _nvfp4(_LLAMA_8B, ["lm_head"], version=None, kv="FP8", files=_TOKENIZER)
# Its index has 74,835 tensors, this layout's number with KV scales. The list is in the order of the published file.
_QWEN3_NVFP4 = _nvfp4(
    _QWEN3_30B,
    [*sorted(f"model.layers.{layer}.mlp.gate" for layer in range(48)), "lm_head"],
    version="0.33.0",
    kv="FP8",
    files=_TOKENIZER,
)
# NVIDIA's two repositories are referred to under both of their names.
KNOWN: Mapping[str, Published] = MappingProxyType(
    {
        "Firworks/gpt-oss-120b-nvfp4": _FIRWORKS,
        "openai/gpt-oss-120b": _mxfp4(_GPT_OSS_120B),
        "openai/gpt-oss-20b": _mxfp4(_GPT_OSS_20B),
        "nvidia/Llama-3.1-8B-Instruct-FP4": _LLAMA_NVFP4,
        "nvidia/Llama-3.1-8B-Instruct-NVFP4": _LLAMA_NVFP4,
        "nvidia/Qwen3-30B-A3B-FP4": _QWEN3_NVFP4,
        "nvidia/Qwen3-30B-A3B-NVFP4": _QWEN3_NVFP4,
    }
)


def predicted_census(repo: str) -> Census | None:
    """The census that the published checkpoint ``repo`` should have, as one shard; None for an unknown repository."""
    published = KNOWN.get(repo)
    if published is None:
        return None
    where = f"hub:{repo}"
    position = 0
    tensors: dict[str, TensorInfo] = {}
    for name, (dtype, shape) in published.specs().items():
        end = position + prod(shape) * itemsize(dtype)
        tensors[name] = TensorInfo(name, dtype, shape, SINGLE, position, end)
        position = end
    return Census(
        architecture=published.config["architectures"][0],
        config=published.config,
        quant_config=published.quant_config,
        quant=quant_summary(published.config, published.quant_config, where),
        tensors=tensors,
        shards={SINGLE: position},
        files=published.files,
        where=where,
    )
