"""Published checkpoints whose tensors are known without reading their headers, so that a plan needs no download.

The layout follows from the export recipe that the model card states. A plan made from it is marked ``predicted``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo, itemsize
from toolkit.checkpoint.quant import quant_summary
from toolkit.checkpoint.source import CONFIG, GENERATION_CONFIG, INDEX, QUANT_CONFIG, SINGLE
from toolkit.models import gpt_oss

# ModelOpt 0.37.0 with NVFP4_DEFAULT_CFG: attention is packed too, and only lm_head is on the exclude list.
_PRODUCER = {"name": "modelopt", "version": "0.37.0"}
# What planning needs of config.json, not the whole file.
_GPT_OSS_120B = {
    "architectures": [gpt_oss.ARCHITECTURE],
    "model_type": "gpt_oss",
    "num_hidden_layers": 36,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_local_experts": 128,
    "num_experts_per_tok": 4,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "sliding_window": 128,
}
KNOWN: Mapping[str, Mapping[str, Any]] = {"Firworks/gpt-oss-120b-nvfp4": _GPT_OSS_120B}
_FILES = (CONFIG, GENERATION_CONFIG, QUANT_CONFIG, INDEX)


def predicted_census(repo: str) -> Census | None:
    """The census that the published export of ``repo`` should have, as one shard; None for an unknown repository."""
    config = KNOWN.get(repo)
    if config is None:
        return None
    where = f"hub:{repo}"
    position = 0
    tensors: dict[str, TensorInfo] = {}
    for name, (dtype, shape) in gpt_oss.tensors(gpt_oss.Geometry.from_config(config, where), attention="nvfp4").items():
        end = position + prod(shape) * itemsize(dtype)
        tensors[name] = TensorInfo(name, dtype, shape, SINGLE, position, end)
        position = end
    quantization = {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": gpt_oss.GROUP_SIZE}
    quant_config = {"producer": _PRODUCER, "quantization": {**quantization, "exclude_modules": ["lm_head"]}}
    inline = {"quant_algo": "NVFP4", "ignore": ["lm_head"], "producer": _PRODUCER}
    return Census(
        architecture=gpt_oss.ARCHITECTURE,
        config={**config, "quantization_config": inline},
        quant_config=quant_config,
        quant=quant_summary(config, quant_config, where),
        tensors=tensors,
        shards={SINGLE: position},
        files=_FILES,
        where=where,
    )
