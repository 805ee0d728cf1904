"""Records, report JSON and console text of a made-up run, in the layout of reporting.py @0249976 (1.3)."""

MS = 1_000_000
RULE = "=" * 59 + "\n"
NAMES = ("minimum", "maximum", "average", "p50", "p90", "p95", "p99")


def make_records(dataset, concurrency, streaming):
    """Waves of ``concurrency`` requests: 20 ms to the first token, 2 ms for each after it; nanoseconds."""
    records = []
    start = [5_000 * MS] * max(1, concurrency)
    for number, row in enumerate(dataset):
        slot = number % len(start)
        first = start[slot] + (20 + slot) * MS
        end = first + 2 * MS * (row["output_tokens"] - 1)
        records.append(
            {
                "id": number,
                "num_input_tokens": len(row["input_ids"]),
                "error_tokens": 0,
                "start_timestamp": start[slot],
                "first_token_timestamp": first if streaming else -1,
                "end_timestamp": end,
                "decode_iteration": row["output_tokens"] - 1,
                "num_total_output_tokens": row["output_tokens"],
                "output": "",
            }
        )
        start[slot] = end
    return records


def statistics(values):
    ordered, count = sorted(values), len(values)
    ranks = {f"p{rank}": ordered[int(count * rank / 100)] for rank in (50, 90, 95, 99)}
    return ranks | {"minimum": ordered[0], "maximum": ordered[-1], "average": sum(values) / count}


def per_second(tokens, latency_ms):
    return tokens / latency_ms * 1e3


def report(options, dataset, records):
    latencies = [(r["end_timestamp"] - r["start_timestamp"]) / MS for r in records]
    window_s = (max(r["end_timestamp"] for r in records) - min(r["start_timestamp"] for r in records)) / 1e9
    outputs = [r["num_total_output_tokens"] for r in records]
    inputs = [r["num_input_tokens"] for r in records]
    world_size, rate = options.tp * options.pp, len(records) / window_s
    result = {
        "engine": {
            "model": options.model,
            "model_path": str(options.model_path),
            "engine_dir": "None",
            "version": "1.3.0rc5",
            "backend": "Pytorch",
            "dtype": "bfloat16",
            "kv_cache_dtype": "FP8",
            "quantization": "NVFP4",
        },
        "machine": {"name": "Made-up GPU", "memory.total": 80.0, "clocks.mem": 2.619},
        "world_info": {
            "tp_size": options.tp,
            "pp_size": options.pp,
            "ep_size": None,
            "world_size": world_size,
            "max_batch_size": options.max_batch_size,
            "max_num_tokens": options.max_num_tokens,
            "scheduling_policy": "GUARANTEED_NO_EVICT",
            "kv_cache_percentage": 0.9,
            "issue_rate": 1.0526e15,
        },
        "request_info": {
            "num_requests": len(records),
            "avg_num_concurrent_requests": sum(latencies) / 1e3 / window_s,
            "avg_input_length": sum(inputs) / len(records),
            "avg_output_length": sum(outputs) / len(records),
        },
        "performance": {
            "total_latency_ms": window_s * 1e3,
            "avg_request_latency_ms": sum(latencies) / len(records),
            "request_throughput_req_s": rate,
            "system_output_throughput_tok_s": sum(outputs) / window_s,
            "system_total_throughput_tok_s": (sum(outputs) + sum(inputs)) / window_s,
            "output_throughput_per_user_tok_s": sum(map(per_second, outputs, latencies)) / len(records),
            "output_throughput_per_gpu_tok_s": sum(outputs) / window_s / world_size,
            "request_latency_percentiles_ms": statistics(latencies),
        },
    }
    if options.streaming:
        result["streaming_metrics"] = streaming(records)
    lengths = [(len(row["input_ids"]), row["output_tokens"]) for row in dataset]
    result["dataset"] = {
        "isl_stats": statistics([float(isl) for isl, _ in lengths]),
        "osl_stats": statistics([float(osl) for _, osl in lengths]),
        "seq_len_stats": statistics([float(isl + osl) for isl, osl in lengths]),
        "num_requests": len(dataset),
        "dataset_path": str(options.dataset),
        "max_isl": max(isl for isl, _ in lengths),
        "max_osl": max(osl for _, osl in lengths),
        "max_sequence_length": max(isl + osl for isl, osl in lengths),
        "avg_isl": int(sum(isl for isl, _ in lengths) / len(lengths)),
        "avg_osl": int(sum(osl for _, osl in lengths) / len(lengths)),
        "avg_sequence_length": int(sum(isl + osl for isl, osl in lengths) / len(lengths)),
    }
    return result


def streaming(records):
    ttft = [(r["first_token_timestamp"] - r["start_timestamp"]) / MS for r in records]
    tpot = [
        (r["end_timestamp"] - r["first_token_timestamp"]) / MS / max(1, r["num_total_output_tokens"] - 1)
        for r in records
    ]
    speed = [1e3 / value if value else 0.0 for value in tpot]
    return {
        "token_output_speed_tok_s": sum(speed) / len(speed),
        "avg_ttft_ms": sum(ttft) / len(ttft),
        "avg_tpot_ms": sum(tpot) / len(tpot),
        "tpot_percentiles": statistics(tpot),
        "ttft_percentiles": statistics(ttft),
        "gen_tps_percentiles": statistics(speed),
    }


def console(report):
    """One log message; the logger's prefix stands before its first line, which is empty."""
    engine, world, info, speed = (report[key] for key in ("engine", "world_info", "request_info", "performance"))
    text = f"\n\n{RULE}= PYTORCH BACKEND\n{RULE}"
    text += f"Model:\t\t\t{engine['model']}\nModel Path:\t\t{engine['model_path']}\n"
    text += f"TensorRT LLM Version:\t{engine['version']}\nDtype:\t\t\t{engine['dtype']}\n"
    text += f"KV Cache Dtype:\t\t{engine['kv_cache_dtype']}\nQuantization:\t\t{engine['quantization']}\n\n"
    machine = report["machine"]
    text += f"{RULE}= MACHINE DETAILS \n{RULE}"
    text += f"{machine['name']}, memory {machine['memory.total']:.2f} GB, {machine['clocks.mem']:.2f} GHz\n\n"
    text += f"{RULE}= REQUEST DETAILS \n{RULE}"
    text += f"Number of requests:             {info['num_requests']}\n"
    text += f"Number of concurrent requests:  {info['avg_num_concurrent_requests']:.4f}\n"
    text += f"Average Input Length (tokens):  {info['avg_input_length']:.4f}\n"
    text += f"Average Output Length (tokens): {info['avg_output_length']:.4f}\n"
    text += f"{RULE}= WORLD + RUNTIME INFORMATION \n{RULE}"
    text += f"TP Size:                {world['tp_size']}\nPP Size:                {world['pp_size']}\n"
    text += f"EP Size:                {world['ep_size']}\nMax Runtime Batch Size: {world['max_batch_size']}\n"
    text += f"Max Runtime Tokens:     {world['max_num_tokens']}\nScheduling Policy:      {world['scheduling_policy']}\n"
    text += f"KV Memory Percentage:   {world['kv_cache_percentage'] * 100:.2f}%\n"
    text += f"Issue Rate (req/sec):   {world['issue_rate']:.4E}\n\n{RULE}= PERFORMANCE OVERVIEW \n{RULE}"
    for label, key in (
        ("Request Throughput (req/sec):", "request_throughput_req_s"),
        ("Total Output Throughput (tokens/sec):", "system_output_throughput_tok_s"),
        ("Total Token Throughput (tokens/sec):", "system_total_throughput_tok_s"),
        ("Total Latency (ms):", "total_latency_ms"),
        ("Average request latency (ms):", "avg_request_latency_ms"),
        ("Per User Output Throughput [w/ ctx] (tps/user):", "output_throughput_per_user_tok_s"),
        ("Per GPU Output Throughput (tps/gpu):", "output_throughput_per_gpu_tok_s"),
    ):
        text += f"{label:<49} {speed[key]:.4f}\n"
    text += "\n-- Request Latency Breakdown (ms) -----------------------\n\n"
    for name, value in speed["request_latency_percentiles_ms"].items():
        text += f"[Latency] {name.upper():<7}: {value:.4f}\n"
    dataset = report["dataset"]
    text += f"\n{RULE}= DATASET DETAILS\n{RULE}Dataset Path:         {dataset['dataset_path']}\n"
    text += f"Number of Sequences:  {dataset['num_requests']}\n\n-- Percentiles statistics {'-' * 33}\n\n"
    text += f"        Input              Output           Seq. Length\n{'-' * 59}\n"
    for row, name in (("MIN", "minimum"), ("MAX", "maximum"), ("AVG", "average"), ("P50", "p50"), ("P99", "p99")):
        columns = (f"{dataset[key][name]:9.4f}" for key in ("isl_stats", "osl_stats", "seq_len_stats"))
        text += f"{row}:  {'          '.join(columns)}\n"
    return text + RULE
