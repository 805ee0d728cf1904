from __future__ import annotations

import json

from tests.bench.trtllm import texts
from tests.bench.trtllm.test_report_json import REPORT
from toolkit.bench.trtllm.card import card, title
from toolkit.bench.trtllm.parse import parse


def test_everything() -> None:
    report = parse(json.dumps(REPORT))
    assert title(report) == "trtllm-bench 1.3.0rc12, report JSON (json-energy)"
    assert card(report) == [
        "  model     made/up, bfloat16, NVFP4, Pytorch",
        "  machine   Made-up GPU, 79.65 GiB",
        "  world     TP 2, PP 1, 64 requests a batch, 2048 tokens a batch",
        "  requests  10 requests, ISL 100, OSL 50, concurrency 4",
        "  output    250 tok/s, 125 tok/s/GPU, 62.5 tok/s/user, 5 req/s",
        "  in + out  750 tok/s",
        "  window    2000 ms",
        "  latency   mean 800 ms, p50 1.5 ms, p90 2.5 ms, p99 4.5 ms, max 5.5 ms",
        "  TTFT      mean 100 ms, p50 1.5 ms, p90 2.5 ms, p99 4.5 ms, max 5.5 ms",
        "  TPOT      mean 14.29 ms, p50 1.5 ms, p90 2.5 ms, p99 4.5 ms, max 5.5 ms",
        "  speed     70 tok/s/user after the first token",
        "  energy    600 J, 300 W, 0.83 tok/s/W",
        "  checks    7 hold",
        "  missing   decoding.draft_acceptance_rate",
    ]


def test_little() -> None:
    report = parse(texts.RULE + "\nTotal Latency (ms): 0.2851\nAverage Output Length (tokens): nan\n")
    assert title(report) == "trtllm-bench (release not said), console text (cut)"
    lines = card(report)
    assert lines[0] == "  window    0.2851 ms"
    assert lines[1].startswith("  checks    0 hold, no numbers for output_throughput, total_throughput, ")
    assert lines[2] == "  note      request_info.avg_output_length_tok is NaN"
    assert lines[3].startswith("  missing   engine, world, request_info.num_requests, ")


def test_a_contradiction() -> None:
    lines = card(parse(texts.V2.replace("125.0000", "250.0000")))
    assert [line for line in lines if "WRONG" in line] == [
        "  WRONG     per_gpu_throughput: output tok/s = output tok/s/GPU · GPUs: 250 and 500 ± 0.00015"
    ]


def test_names_are_made_printable() -> None:
    report = parse(json.dumps(REPORT | {"engine": {"model": "a\x1b[2Jb\nc"}}))
    assert card(report)[0] == "  model     a?[2Jb?c"
