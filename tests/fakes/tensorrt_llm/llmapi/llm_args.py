from typing import Any

from pydantic import BaseModel, ConfigDict


class TorchLlmArgs(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str
    backend: str = "pytorch"
    skip_tokenizer_init: bool = False
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    moe_expert_parallel_size: int | None = None
    enable_attention_dp: bool = False
    max_batch_size: int = 2048
    max_num_tokens: int = 8192
    max_seq_len: int | None = None
    kv_cache_config: dict[str, Any] = {}
    cuda_graph_config: dict[str, Any] | None = None
    moe_config: dict[str, Any] = {}
    stream_interval: int = 1
    sampler_type: str = "auto"
    enable_chunked_prefill: bool = False
    enable_iter_perf_stats: bool = False
    num_postprocess_workers: int = 0
