"""``trtllm-bench throughput`` as documented (commands/bench.py, bench/benchmark/throughput.py @56851033).

An error ends with a logged traceback and exit code 1, Ctrl-C with exit code 0 and no report, a wrong option with 2.
"""

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path

import misbehave
from fake_report import console, make_records, report

LOGGER = "[11/24/2026-12:00:00] [TRT-LLM] [I] "


def parse(words):
    group = argparse.ArgumentParser("trtllm-bench", allow_abbrev=False)
    group.add_argument("--model", "-m", required=True)
    group.add_argument("--model_path", type=Path)
    commands = group.add_subparsers(dest="command", required=True)
    bench = commands.add_parser("throughput", allow_abbrev=False)
    bench.add_argument("--extra_llm_api_options", "--config", dest="config", type=Path)
    bench.add_argument("--dataset", type=Path, required=True)
    for name in ("--backend", "--ep", "--max_seq_len", "--kv_cache_free_gpu_mem_fraction"):
        bench.add_argument(name)
    for name, default in (("--tp", 1), ("--pp", 1), ("--eos_id", -1), ("--num_requests", 0), ("--warmup", 2)):
        bench.add_argument(name, type=int, default=default)
    for name in ("--max_batch_size", "--max_num_tokens"):
        bench.add_argument(name, type=int)
    bench.add_argument("--concurrency", type=int, default=-1)
    bench.add_argument("--streaming", action="store_true")
    for name in ("--report_json", "--request_json"):
        bench.add_argument(name, type=Path)
    return group.parse_args(words)


def read_dataset(path, limit):
    with path.open() as file:
        rows = [json.loads(line) for line in file]
    return rows[: limit or None]


def log(text):
    print(LOGGER + text, flush=True)


def bar(count, total):
    percent = 100 * count // max(total, 1)
    blocks = "█" * (percent // 10)
    print(
        f"\rBenchmarking: {percent:3d}%|{blocks:10}| {count}/{total} [00:01<00:00, 87.10it/s]", end="", file=sys.stderr
    )
    sys.stderr.flush()


def measure(requests, fault):
    log("Starting benchmark...")
    bar(0, len(requests))
    for count in range(1, len(requests) + 1):
        time.sleep(float(os.environ.get("FAKE_REQUEST_S", "0")))
        bar(count, len(requests))
        if fault and count == max(1, len(requests) // 2):
            fault()
    print(file=sys.stderr)
    log("Benchmark complete.")


def run(options):
    wrong = misbehave.chosen()
    if Path(options.model).exists():
        raise ValueError("Model is a file or directory, please provide a model name.")
    if not options.model_path.is_dir() or not options.config.is_file():
        raise FileNotFoundError("the checkpoint or the YAML is not there")
    wrong.start()
    log("Loading weights")
    dataset = read_dataset(options.dataset, options.num_requests)
    measure(dataset[: options.warmup] or dataset, None)
    measure(dataset, wrong.midway)
    records = make_records(dataset, options.concurrency, options.streaming)
    wrong.records(records)
    result = report(options, dataset, records)
    wrong.report(result)
    if options.report_json and not wrong.no_json:
        options.report_json.write_text(wrong.text(json.dumps(result, indent=4)))
    if options.request_json:
        options.request_json.write_text(json.dumps(records, indent=4))
    if not wrong.silent:
        print(LOGGER + console(result), flush=True)
    wrong.end()


def main(words):
    options = parse(words)
    try:
        run(options)
    except KeyboardInterrupt:
        log("Keyboard interrupt, exiting benchmark...")
        return 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0
