"""Where each value stands: console labels by generation, JSON keys by block.

Sources in NVIDIA/TensorRT-LLM: tensorrt_llm/bench/dataclasses/reporting.py @2787769c and @0249976, statistics.py
@77d7fe1e, docs/source/performance/perf-benchmarking.md @04276b44 (v1).
"""

from __future__ import annotations

from toolkit.bench.trtllm.measurement import Generation

CONSOLE: tuple[Generation, ...] = ("v1", "v2-old", "v2", "v2-machine")
SECOND: tuple[Generation, ...] = ("v2-old", "v2", "v2-machine")
LATE: tuple[Generation, ...] = ("v2", "v2-machine")
SOMETIMES: tuple[Generation, ...] = ()
"""Printed for one backend only or for speculative decoding: never missed."""

LABELS: dict[str, tuple[str, tuple[Generation, ...]]] = {
    "Model": ("engine.model", CONSOLE),
    "Model Path": ("engine.model_path", SOMETIMES),
    "Engine Directory": ("engine.engine_dir", SOMETIMES),
    "TensorRT-LLM Version": ("engine.version", CONSOLE),
    "TensorRT LLM Version": ("engine.version", CONSOLE),
    "Dtype": ("engine.dtype", CONSOLE),
    "KV Cache Dtype": ("engine.kv_cache_dtype", CONSOLE),
    "Quantization": ("engine.quantization", CONSOLE),
    "Max Input Length": ("engine.max_input_length_tok", SOMETIMES),
    "Max Sequence Length": ("engine.max_sequence_length_tok", SOMETIMES),
    "TP Size": ("world.tp_size", CONSOLE),
    "PP Size": ("world.pp_size", CONSOLE),
    "EP Size": ("world.ep_size", SECOND),
    "Max Runtime Batch Size": ("world.max_batch_size", CONSOLE),
    "Max Runtime Tokens": ("world.max_num_tokens", CONSOLE),
    "Scheduling Policy": ("world.scheduling_policy", CONSOLE),
    "KV Memory Percentage": ("world.kv_cache_fraction", CONSOLE),
    "Issue Rate (req/sec)": ("world.issue_rate_req_s", CONSOLE),
    "Number of requests": ("request_info.num_requests", CONSOLE),
    "Number of concurrent requests": ("request_info.avg_concurrent_requests", SECOND),
    "Average Input Length (tokens)": ("request_info.avg_input_length_tok", CONSOLE),
    "Average Output Length (tokens)": ("request_info.avg_output_length_tok", CONSOLE),
    "Request Throughput (req/sec)": ("performance.request_throughput_req_s", CONSOLE),
    "Token Throughput (tokens/sec)": ("performance.system_output_throughput_tok_s", ("v1",)),
    "Total Output Throughput (tokens/sec)": ("performance.system_output_throughput_tok_s", SECOND),
    "Total Token Throughput (tokens/sec)": ("performance.system_total_throughput_tok_s", SECOND),
    "Total Latency (ms)": ("performance.total_latency_ms", CONSOLE),
    "Average request latency (ms)": ("performance.avg_request_latency_ms", SECOND),
    "Per User Output Throughput (tokens/sec/user)": ("performance.output_throughput_per_user_tok_s", ("v2-old",)),
    "Per GPU Output Throughput (tokens/sec/gpu)": ("performance.output_throughput_per_gpu_tok_s", ("v2-old",)),
    "Per User Output Throughput [w/ ctx] (tps/user)": ("performance.output_throughput_per_user_tok_s", LATE),
    "Per GPU Output Throughput (tps/gpu)": ("performance.output_throughput_per_gpu_tok_s", LATE),
    "Average time-to-first-token [TTFT] (ms)": ("streaming.avg_ttft_ms", SECOND),
    "Average time-per-output-token [TPOT] (ms)": ("streaming.avg_tpot_ms", SECOND),
    "Per User Output Speed [1/TPOT] (tokens/sec/user)": ("streaming.token_output_speed_tok_s", ("v2-old",)),
    "Per User Output Speed (tps/user)": ("streaming.token_output_speed_tok_s", LATE),
    "Dataset Path": ("dataset.path", SECOND),
    "Number of Sequences": ("dataset.num_requests", SECOND),
}

BREAKDOWNS: dict[str, tuple[str, tuple[Generation, ...]]] = {
    "Latency": ("performance.request_latency_ms", SECOND),
    "TTFT": ("streaming.ttft_ms", SECOND),
    "TPOT": ("streaming.tpot_ms", SECOND),
    "GTPS": ("streaming.generation_throughput_tok_s", LATE),
    "DT": ("decoding.num_draft_tokens", SOMETIMES),
    "ADT": ("decoding.num_accepted_draft_tokens", SOMETIMES),
    "DAR": ("decoding.draft_acceptance_rate", SOMETIMES),
    "AL": ("decoding.acceptance_length", SOMETIMES),
}
DATASET_COLUMNS = ("dataset.isl_tok", "dataset.osl_tok", "dataset.seq_len_tok")
ROWS = {"MIN": "minimum", "MAX": "maximum", "AVG": "average"} | {f"P{rank}": f"p{rank}" for rank in (50, 90, 95, 99)}


def _same(section: str, names: str) -> dict[str, str]:
    """Keys that have the name of their field."""
    return {name: f"{section}.{name}" for name in names.split()}


JSON: dict[str, dict[str, str]] = {
    "engine": {
        **_same("engine", "model model_path engine_dir version backend dtype kv_cache_dtype quantization"),
        "max_input_length": "engine.max_input_length_tok",
        "max_sequence_length": "engine.max_sequence_length_tok",
    },
    "machine": {
        "name": "machine.name",
        "memory.total": "machine.memory_total_gib",
        "clocks.mem": "machine.memory_clock_ghz",
    },
    "world_info": {
        **_same("world", "tp_size pp_size ep_size world_size max_batch_size max_num_tokens scheduling_policy"),
        "kv_cache_percentage": "world.kv_cache_fraction",
        "issue_rate": "world.issue_rate_req_s",
    },
    "request_info": {
        "num_requests": "request_info.num_requests",
        "avg_num_concurrent_requests": "request_info.avg_concurrent_requests",
        "avg_input_length": "request_info.avg_input_length_tok",
        "avg_output_length": "request_info.avg_output_length_tok",
    },
    "performance": {
        **_same("performance", "total_latency_ms avg_request_latency_ms request_throughput_req_s"),
        **_same("performance", "system_output_throughput_tok_s system_total_throughput_tok_s"),
        **_same("performance", "output_throughput_per_user_tok_s output_throughput_per_gpu_tok_s"),
        "request_latency_percentiles_ms": "performance.request_latency_ms",
    },
    "streaming_metrics": {
        **_same("streaming", "token_output_speed_tok_s avg_ttft_ms avg_tpot_ms"),
        "ttft_percentiles": "streaming.ttft_ms",
        "tpot_percentiles": "streaming.tpot_ms",
        "gen_tps_percentiles": "streaming.generation_throughput_tok_s",
    },
    "decoding_stats": {
        "mode": "decoding.mode",
        "num_draft_tokens_percentiles": "decoding.num_draft_tokens",
        "num_accepted_draft_tokens_percentiles": "decoding.num_accepted_draft_tokens",
        "draft_acceptance_rate_percentiles": "decoding.draft_acceptance_rate",
        "acceptance_length_percentiles": "decoding.acceptance_length",
    },
    "energy": {
        "total_energy_j": "energy.total_energy_j",
        "output_tps_per_w": "energy.output_tok_s_per_w",
        "average_gpu_power": "energy.average_gpu_power_w",
    },
    "dataset": {
        "dataset_path": "dataset.path",
        "num_requests": "dataset.num_requests",
        "isl_stats": "dataset.isl_tok",
        "osl_stats": "dataset.osl_tok",
        "seq_len_stats": "dataset.seq_len_tok",
        "max_isl": "dataset.max_isl_tok",
        "max_osl": "dataset.max_osl_tok",
        "max_sequence_length": "dataset.max_sequence_length_tok",
        "avg_isl": "dataset.avg_isl_tok",
        "avg_osl": "dataset.avg_osl_tok",
        "avg_sequence_length": "dataset.avg_sequence_length_tok",
    },
}
OPTIONAL_SECTIONS = {
    "machine": "machine",
    "streaming_metrics": "streaming",
    "decoding_stats": "decoding",
    "energy": "energy",
}
"""Sections that a report may do without, by their block."""
NEVER_MISSED = {"engine.engine_dir", "engine.max_input_length_tok", "engine.max_sequence_length_tok"}
"""Of a compiled engine."""
