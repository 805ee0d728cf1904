from __future__ import annotations

import copy
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.bench.trtllm.test_report_json import REPORT
from tests.bench.trtllm.test_request_json import RECORD
from toolkit.bench.trtllm.argv import PointFiles
from toolkit.bench.trtllm.measurement import Measurement
from toolkit.bench.trtllm.outcome import Evidence, Expected, Outcome, ended_early, judge
from toolkit.bench.trtllm.parse import parse
from toolkit.bench.trtllm.request_json import BenchRequest, parse_requests

EXPECTED = Expected(requests=10, mean_isl=100, mean_osl=50)


def report(**blocks: dict[str, Any]) -> Measurement:
    made = copy.deepcopy(REPORT)
    for block, values in blocks.items():
        made[block].update(values)
    return parse(json.dumps(made))


def requests(count: int, failed: int = 0) -> tuple[BenchRequest, ...]:
    return parse_requests(json.dumps([RECORD | {"id": n, "error_tokens": int(n < failed)} for n in range(count)]))


def evidence(
    measurement: Measurement | None = None,
    requests: tuple[BenchRequest, ...] | None = None,
    stderr: str = "",
    fault: str | None = None,
) -> Evidence:
    return Evidence("", stderr, measurement, requests, fault)


@pytest.mark.parametrize("found", [None, requests(10)])
def test_ok(found: tuple[BenchRequest, ...] | None) -> None:
    assert judge(0, evidence(report(), found), EXPECTED) == ("ok", "")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (evidence(report(), requests(9)), "--request_json has 9 requests, 10 asked for"),
        (evidence(report(), requests(10, failed=3)), "3 of 10 requests failed"),
        (evidence(report(request_info={"num_requests": 9})), "9 requests were measured, 10 asked for"),
        (evidence(report(request_info={"num_requests": None})), "the report has no request_info.num_requests"),
        (
            evidence(report(request_info={"avg_output_length": float("nan")})),
            "the report has no request_info.avg_output_length_tok (request_info.avg_output_length_tok is NaN)",
        ),
        (
            evidence(report(performance={"system_total_throughput_tok_s": None})),
            "total tok/s = req/s · (ISL + OSL): no performance.system_total_throughput_tok_s",
        ),
        (evidence(report(), fault="requests.json: it is cut"), "requests.json: it is cut"),
        (
            evidence(report(performance={"output_throughput_per_gpu_tok_s": 250.0})),
            "the report contradicts itself: output tok/s = output tok/s/GPU · GPUs: 250 and 500 ± 0.15",
        ),
    ],
)
def test_invalid(found: Evidence, reason: str) -> None:
    assert judge(0, found, EXPECTED) == ("invalid", reason)


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (Expected(10, 100, 50.4), ""),
        (Expected(10, 100, 49.6), ""),
        (Expected(10, 100, 51), "mean OSL is 50 tokens, 51 asked for"),
        (Expected(10, 100, 49), "mean OSL is 50 tokens, 49 asked for"),
        (Expected(10, 99.5, 50), ""),
        (Expected(10, 128, 50), "mean ISL is 100 tokens, 128 asked for"),
    ],
)
def test_lengths_within_one_per_cent(expected: Expected, reason: str) -> None:
    assert judge(0, evidence(report()), expected) == ("invalid" if reason else "ok", reason)


@pytest.mark.parametrize(
    ("exit_code", "found", "status", "reason"),
    [
        (1, evidence(), "failed", "exit code 1"),
        (1, evidence(report()), "failed", "exit code 1 after its report"),
        (1, evidence(stderr="RuntimeError: x"), "failed", "exit code 1: RuntimeError: x"),
        (1, evidence(stderr="MemoryError: y"), "oom", "exit code 1, out of memory: MemoryError: y"),
        (-signal.SIGSEGV, evidence(), "failed", "ended by SIGSEGV"),
        (-signal.SIGKILL, evidence(), "oom", "ended by SIGKILL, as when memory runs out"),
        (137, evidence(), "oom", "exit code 137, as when memory runs out"),
        (-250, evidence(), "failed", "ended by signal 250"),
        (0, evidence(), "no_report", "exit code 0 without a report: interrupted, or out of memory"),
        (
            0,
            evidence(stderr="CUDA out of memory"),
            "oom",
            "exit code 0 without a report, out of memory: CUDA out of memory",
        ),
    ],
)
def test_exit_codes(exit_code: int, found: Evidence, status: str, reason: str) -> None:
    assert judge(exit_code, found, EXPECTED) == (status, reason)


def test_ended_early() -> None:
    assert ended_early("stalled", "no progress for 5 s", evidence(stderr="a\nb\n")) == (
        "stalled",
        "no progress for 5 s: b",
    )


def test_outcome() -> None:
    files = PointFiles(Path("r1"))
    assert Outcome("ok", "", 0, 1.5, files).ok
    assert not Outcome("no_report", "x", 0, 1.5, files).ok
