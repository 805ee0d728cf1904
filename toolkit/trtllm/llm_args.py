"""``LLM(...)`` arguments of a recipe, as ``trtllm-serve --extra_llm_api_options`` reads them from YAML.

Keys and values follow NVIDIA's curated gpt-oss configurations and the tuned database of TensorRT-LLM 1.2
(``examples/configs/curated`` and ``examples/configs/database``).
"""

from __future__ import annotations

from typing import Any

from toolkit.recipe import Recipe


def llm_args(recipe: Recipe, moe_backend: str) -> dict[str, Any]:
    """Arguments for the PyTorch backend; the YAML wins over command-line flags of serve and bench."""
    engine, parallel = recipe.engine, recipe.target.parallel
    return {
        "backend": "pytorch",
        "tensor_parallel_size": parallel.tp,
        "pipeline_parallel_size": parallel.pp,
        "moe_expert_parallel_size": parallel.ep,
        "enable_attention_dp": parallel.attention_dp,
        "max_batch_size": engine.max_batch_size,
        "max_num_tokens": engine.max_num_tokens,
        "max_seq_len": engine.max_seq_len,
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": engine.max_batch_size},
        "kv_cache_config": {
            "dtype": engine.kv_cache_dtype,
            "free_gpu_memory_fraction": engine.kv_cache_free_gpu_memory_fraction,
        },
        "moe_config": {"backend": moe_backend},
        "stream_interval": engine.stream_interval,
    }
