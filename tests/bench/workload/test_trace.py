from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench.trtllm.dataset import write_requests
from toolkit.bench.workload import RequestSpec, read_trace
from toolkit.errors import RecipeError

GOOD = b'{"input_ids": [1, 2], "output_tokens": 3}\n'


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text.strip()]


def read(path: Path, data: bytes) -> tuple[RequestSpec, ...]:
    path.write_bytes(data)
    return read_trace(path, encode, max_seq_len=20)


def line(**fields: Any) -> bytes:
    return json.dumps({"input_ids": [1, 2], "output_tokens": 3} | fields).encode() + b"\n"


def test_a_trace(tmp_path: Path) -> None:
    data = (
        b'{"task_id": 7, "input_ids": [5, 0, 5], "output_tokens": 17, "arrival_s": 0}\n'
        b'{"prompt": "abc", "output_tokens": 1, "arrival_s": 0.25}\r\n'
        b'{"task_id": "x", "prompt": "d", "output_tokens": 2, "arrival_s": 0.25}'
    )
    assert read(tmp_path / "t.jsonl", data) == (
        RequestSpec(0, (5, 0, 5), 17, 0.0),
        RequestSpec(1, (97, 98, 99), 1, 0.25),
        RequestSpec(2, (100,), 2, 0.25),
    )


def test_what_is_written_for_trtllm_bench_is_read_back(tmp_path: Path) -> None:
    requests = (RequestSpec(0, (5, 6, 7), 2), RequestSpec(1, (8,), 9))
    assert read_trace(write_requests(tmp_path / "d.jsonl", requests).path, encode, 20) == requests


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD + b"{", ":2: not JSON: EOF while parsing an object at line 1 column 1"),
        (GOOD + b"[1]\n", ":2: not a JSON object"),
        (GOOD + b'{"input_ids": [1], "output_tokens": "\xff"}', ":2: not JSON: invalid unicode code point at line 1 c"),
        (b"\xef\xbb\xbf" + GOOD, ":1: a byte order mark stands before the JSON. Save it as UTF-8 without BOM"),
        (GOOD.decode().encode("utf-16"), ":1: not JSON: expected value at line 1 column 1"),
        (GOOD + b"\n" + GOOD, ":2: the line is blank. Remove it"),
        (GOOD + b" \t \n", ":2: the line is blank. Remove it"),
        (b"\n", ":1: the line is blank. Remove it"),
        (b"", ": the trace is empty. Check bench.workload.trace"),
        (GOOD + line(output_tokens="3"), ":2: output_tokens: input should be a valid integer, not '3'"),
        (GOOD + line(output_tokens=3.0), ":2: output_tokens: input should be a valid integer, not 3.0"),
        (GOOD + line(output_tokens=True), ":2: output_tokens: input should be a valid integer, not True"),
        (GOOD + line(output_tokens=None), ":2: output_tokens: input should be a valid integer, not None"),
        (GOOD + line(output_tokens=0), ":2: output_tokens: input should be greater than or equal to 1, not 0"),
        (b'{"input_ids": [1]}\n', ":1: output_tokens is missing"),
        (line(input_ids=[]), ":1: input_ids: tuple should have at least 1 item after validation, not 0, not []"),
        (line(input_ids=[1, "2"]), ":1: input_ids: input should be a valid integer, not '2'"),
        (line(input_ids=[-1]), ":1: input_ids: input should be greater than or equal to 0, not -1"),
        (line(input_ids=[2**31]), ":1: input_ids: input should be less than or equal to 2147483647, not 2147483648"),
        (line(input_ids=None), ":1: has no prompt. Give prompt or input_ids"),
        (line(input_ids=None, prompt=""), ":1: prompt: string should have at least 1 character, not ''"),
        (line(input_ids=None, prompt=" "), ":1: the prompt has no token"),
        (line(prompt="a"), ":1: has prompt and input_ids. Give prompt or input_ids"),
        (line(output_token=3), ":1: unknown field 'output_token'. Did you mean 'output_tokens'?"),
        (
            line(lora_request={}),
            ":1: unknown field 'lora_request'. Known fields: task_id, prompt, input_ids, output_tokens, arrival_s",
        ),
        (line(arrival_s=-0.5), ":1: arrival_s: input should be greater than or equal to 0, not -0.5"),
        (line(arrival_s="0"), ":1: arrival_s: input should be a valid number, not '0'"),
        (line(arrival_s=float("nan")), ":1: arrival_s: input should be a finite number, not nan"),
        (line(arrival_s=float("inf")), ":1: arrival_s: input should be a finite number, not inf"),
        (line(arrival_s=2) + line(arrival_s=1.5), ":2: arrival_s 1.5 comes after 2. Sort the lines by arrival_s"),
        (
            line(arrival_s=1) + line(),
            ":2: arrival_s: the line before has one. Give every line an arrival_s, or none",
        ),
        (
            line() + line(arrival_s=1),
            ":2: arrival_s: the line before has none. Give every line an arrival_s, or none",
        ),
        (
            GOOD + line(output_tokens=19),
            ":2: the request needs 21 tokens (prompt + output), engine.max_seq_len is 20",
        ),
    ],
)
def test_a_bad_trace_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "t.jsonl"
    with pytest.raises(RecipeError) as caught:
        read(path, data)
    text = str(caught.value)
    assert text.startswith(f"{path}{message}")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 200


def test_a_request_that_just_fits(tmp_path: Path) -> None:
    assert read(tmp_path / "t.jsonl", line(output_tokens=18))[0].output_tokens == 18


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no\.jsonl: cannot read the trace: No such file or directory\. Check bench"):
        read_trace(tmp_path / "no.jsonl", encode, 20)
    with pytest.raises(RecipeError, match="cannot read the trace: Is a directory"):
        read_trace(tmp_path, encode, 20)
