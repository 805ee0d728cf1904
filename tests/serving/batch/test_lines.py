from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import BatchError
from toolkit.serving.batch import Defaults, Line, read_lines, scan_lines
from toolkit.serving.batch.lines import parse_line

PATH = Path("in.jsonl")
DEFAULTS = Defaults(SamplingParams(max_tokens=5, top_k=2), ("END",), False)


class Reversing:
    """A chat format whose prompt is the content's characters."""

    def prompt(self, conversation: Mapping[str, Any], where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        tools = len(conversation.get("tools", ()))
        return (*map(ord, conversation["messages"][0]["content"]), tools), (7, 8)

    def message(self, prompt: tuple[int, ...], answer: tuple[int, ...]) -> dict[str, Any]:
        raise NotImplementedError


def test_defaults_hold_where_a_line_says_nothing() -> None:
    assert parse_line(b'{"prompt": "a"}', PATH, 3, DEFAULTS) == Line(
        3, 3, "a", SamplingParams(max_tokens=5, top_k=2), ("END",), False
    )


def test_everything_a_line_may_say() -> None:
    raw = b"""{"id": "x", "input_ids": [1, 2], "max_tokens": 9, "min_tokens": 1, "temperature": 1, "top_k": 0,
        "top_p": 0.5, "min_p": 0.25, "seed": 18446744073709551615, "repetition_penalty": 1.5,
        "presence_penalty": -1, "frequency_penalty": 2, "stop_token_ids": [4], "ignore_eos": true, "logprobs": 0,
        "stop": ["a", "b"], "skip_special_tokens": true}"""
    sampling = SamplingParams(9, 1, 1.0, 0, 0.5, 0.25, 2**64 - 1, 1.5, -1.0, 2.0, (4,), True, 0)
    assert parse_line(raw, PATH, 1, DEFAULTS) == Line(1, "x", (1, 2), sampling, ("a", "b"), True)
    # no field of SamplingParams is at its default there, so none was forgotten above
    assert all(getattr(sampling, field.name) != field.default for field in fields(sampling) if field.name != "top_k")


def test_null_stands_for_the_default_and_a_stop_may_be_one_string() -> None:
    line = parse_line(b'{"prompt": "a", "max_tokens": null, "id": null, "stop": "z"}', PATH, 2, DEFAULTS)
    assert line == Line(2, 2, "a", DEFAULTS.sampling, ("z",), False)


def test_messages() -> None:
    raw = b'{"messages": [{"role": "user", "content": "hi"}], "tools": [{}], "stop_token_ids": [8, 9]}'
    line = parse_line(raw, PATH, 1, Defaults(), Reversing())
    assert line == Line(1, 1, (104, 105, 1), SamplingParams(stop_token_ids=(8, 9, 7)), (), False, conversed=True)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "not JSON: EOF while parsing an object at line 1 column 1"),
        (b"[1]", "not a JSON object"),
        (b'{"prompt": "\xff"}', "not JSON: invalid unicode code point at line 1 column 13"),
        (b"{}", "has no prompt. Give one of prompt, input_ids, messages"),
        (
            b'{"prompt": "a", "input_ids": [1]}',
            "has prompt and input_ids. Give one of prompt, input_ids, messages",
        ),
        (b'{"promt": "a"}', "unknown field 'promt'. Did you mean 'prompt'?"),
        (b'{"prompt": "a", "max_new_tokens": 3}', "unknown field 'max_new_tokens'. Did you mean 'max_tokens'?"),
        (b'{"prompt": ""}', "the prompt is empty"),
        (b'{"input_ids": []}', "the prompt is empty"),
        (b'{"input_ids": [-1]}', "input_ids has -1, which is no token id"),
        (b'{"input_ids": [2147483648]}', "input_ids has 2147483648, which is no token id"),
        (b'{"prompt": "a", "max_tokens": 0}', "max_tokens is 0, but must be at least 1"),
        (b'{"prompt": "a", "temperature": NaN}', "temperature is nan, but must be between 0 and 100"),
        (b'{"prompt": "a", "seed": -1}', "seed is -1, but must be between 0 and 18446744073709551615"),
        (b'{"prompt": "a", "min_tokens": 6}', "min_tokens is 6, but must be at most max_tokens, 5"),
        (b'{"prompt": "a", "max_tokens": "5"}', "max_tokens: input should be a valid integer, not '5'"),
        (b'{"prompt": "a", "max_tokens": true}', "max_tokens: input should be a valid integer, not True"),
        (b'{"prompt": ["a"]}', "prompt: input should be a valid string, not ['a']"),
        (b'{"prompt": "a", "stop": [""]}', "stop has an empty string"),
        (b'{"prompt": "a", "tools": []}', "tools goes with messages"),
        (b'{"messages": []}', "messages need the model's tokenizer. Add: --tokenizer DIR"),
    ],
)
def test_line_that_is_no_request(raw: bytes, said: str) -> None:
    with pytest.raises(BatchError) as caught:
        parse_line(raw, PATH, 12, DEFAULTS)
    assert str(caught.value) == f"in.jsonl:12: {said}"


def test_unknown_field_far_from_all_lists_them() -> None:
    with pytest.raises(BatchError, match=r"unknown field 'xyzzy'\. Known fields: id, prompt, input_ids, messages, "):
        parse_line(b'{"prompt": "a", "xyzzy": 1}', PATH, 1, DEFAULTS)


def test_scan(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    text = b'{"prompt": "a"}\n\n{"input_ids": [1], "seed": 3}\n{"prompt": "b", "seed": 4}'
    path.write_bytes(text)
    scan = scan_lines(path, Defaults())
    assert (scan.requests, scan.last_line, scan.sha256) == (3, 4, hashlib.sha256(text).hexdigest())
    assert scan.uses == {"text_input": f"{path}:1", "input_ids": f"{path}:3", "seed": f"{path}:3"}
    assert [line.number for line in read_lines(path, scan, Defaults(), None, {3}.__contains__)] == [1, 4]


def test_a_file_from_windows(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n{"prompt": "b"}\r\n')
    scan = scan_lines(path, Defaults())
    lines = read_lines(path, scan, Defaults(), None, lambda number: False)
    assert [(line.number, line.prompt) for line in lines] == [(1, "a"), (3, "b")]


def test_id_that_came_before(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "a", "id": "2"}\n{"prompt": "b"}\n')
    with pytest.raises(BatchError, match=rf"^{path}:2: id 2 came before$"):
        scan_lines(path, Defaults())


def test_a_pipe_can_be_read_only_once(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    os.mkfifo(path)
    with pytest.raises(BatchError, match=rf"^{path}: is no regular file, and a batch reads its input twice\. Name"):
        scan_lines(path, Defaults())
    with pytest.raises(BatchError, match=rf"^{tmp_path}: is a folder\. Name"):
        scan_lines(tmp_path, Defaults())


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_nothing_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    with pytest.raises(BatchError, match=f"^{path}: holds no request"):
        scan_lines(path, Defaults())
