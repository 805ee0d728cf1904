from __future__ import annotations

import json
from typing import Any

import pytest

from toolkit.bench.request import RequestRecord
from toolkit.bench.trtllm.request_json import BenchRequest, parse_requests
from toolkit.errors import RecordError

MS = 1_000_000
RECORD: dict[str, Any] = {
    "id": 7,
    "num_input_tokens": 128,
    "error_tokens": 0,
    "start_timestamp": 9_000 * MS,
    "first_token_timestamp": 9_050 * MS,
    "end_timestamp": 9_350 * MS,
    "decode_iteration": 30,
    "num_total_output_tokens": 31,
    "num_generated_tokens": 30,
    "generation_time": 300 * MS,
    "time_to_first_token": 50 * MS,
    "intertoken_latency": 10.0 * MS,
    "end_to_end_latency": 350 * MS,
    "total_token_throughput": 8.857e-08,
    "generation_token_throughput": 1e-07,
    "output": "…",
    "output_tokens": 31,
}


def test_requests() -> None:
    later = RECORD | {"id": 8, "start_timestamp": 9_100 * MS, "first_token_timestamp": 9_160 * MS, "error_tokens": 2}
    first, second = parse_requests(json.dumps([later, RECORD]).encode())
    assert second == BenchRequest(
        id=7,
        prompt_tokens=128,
        output_tokens=31,
        start_ns=0,
        first_token_ns=50 * MS,
        end_ns=350 * MS,
        decode_iterations=30,
        status="ok",
    )
    assert (first.id, first.start_ns, first.end_ns, first.status) == (8, 100 * MS, 350 * MS, "error")
    assert (first.latency_ns, first.ttft_ns) == (250 * MS, 60 * MS)


def test_definitions_are_those_of_the_online_records() -> None:
    """And those that trtllm-bench computed itself: its fields are the oracle."""
    (request,) = parse_requests(json.dumps([RECORD]))
    assert request.latency_ns == RECORD["end_to_end_latency"]
    assert request.ttft_ns == RECORD["time_to_first_token"]
    assert request.tpot_ns == RECORD["intertoken_latency"]
    times = tuple(50 * MS + 10 * MS * number for number in range(31))
    online = RequestRecord(id=7, prompt_tokens=128, start_ns=0, token_ns=times, end_ns=350 * MS, status="ok")
    assert (online.latency_ns, online.ttft_ns, online.tpot_ns) == (request.latency_ns, request.ttft_ns, request.tpot_ns)


@pytest.mark.parametrize("first", [-1, 0, None, 0.0, 10_000 * MS])
def test_no_first_token(first: object) -> None:
    """-1 where nothing set it, as without --streaming; and times that cannot be of this request."""
    (request,) = parse_requests(json.dumps([RECORD | {"first_token_timestamp": first}]))
    assert (request.first_token_ns, request.ttft_ns, request.tpot_ns) == (None, None, None)


def test_one_token_has_no_tpot() -> None:
    (request,) = parse_requests(json.dumps([RECORD | {"num_total_output_tokens": 1}]))
    assert request.tpot_ns is None


@pytest.mark.parametrize("name", ["num_output_tokens", "output_tokens"])
def test_other_names_of_the_output_length(name: str) -> None:
    record = {key: value for key, value in RECORD.items() if key not in ("num_total_output_tokens", "output_tokens")}
    (request,) = parse_requests(json.dumps([record | {name: 5}]))
    assert request.output_tokens == 5


def test_no_requests() -> None:
    assert parse_requests("[]") == ()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("", "it is not JSON, or it is cut"),
        (json.dumps([RECORD])[:100], "it is not JSON, or it is cut"),
        (b"\xff\xfe[", "it is not JSON, or it is cut"),
        ("[" * 100_000, "it is not JSON, or it is cut"),
        (json.dumps(RECORD), "it is not a list of requests"),
        (json.dumps([RECORD, 3]), "request 1 is no object"),
        (json.dumps([RECORD | {"id": "7"}]), "request 0 has no whole number id"),
        (json.dumps([RECORD | {"num_input_tokens": True}]), "request 0 has no whole number num_input_tokens"),
        (json.dumps([RECORD | {"start_timestamp": None}]), "request 0 has no whole number start_timestamp"),
        (json.dumps([RECORD | {"end_timestamp": -1}]), "request 0 ends before it starts"),
        (
            json.dumps([{key: value for key, value in RECORD.items() if "output" not in key}]),
            "request 0 has no whole number num_total_output_tokens",
        ),
    ],
)
def test_faults(data: str | bytes, what: str) -> None:
    with pytest.raises(RecordError) as caught:
        parse_requests(data)
    assert caught.value.what == what
