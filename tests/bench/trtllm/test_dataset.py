from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench.trtllm import dataset
from toolkit.bench.trtllm.dataset import DatasetSpec, dataset_line, dataset_requests, write_dataset, write_requests
from toolkit.bench.workload import Lengths, Normal, RequestSpec, Uniform
from toolkit.errors import RecipeError

SHORT, TWO = Uniform(3, 6), Uniform(2, 2)


def spec(
    isl: Lengths = SHORT,
    osl: Lengths = TWO,
    requests: int = 4,
    seed: int = 1,
    vocab_size: int = 50,
    excluded: frozenset[int] = frozenset({0, 1, 2}),
) -> DatasetSpec:
    return DatasetSpec(isl, osl, requests, seed, vocab_size, excluded)


def dataset_lines(of: DatasetSpec) -> list[bytes]:
    return [dataset_line(request) for request in dataset_requests(of)]


def rows(of: DatasetSpec) -> list[dict[str, Any]]:
    return [json.loads(line) for line in dataset_lines(of)]


def test_the_bytes_are_these() -> None:
    """On every machine and under every hash seed: Mersenne Twister's bits for a text seed, ids 3 to 49."""
    assert b"".join(dataset_lines(spec(requests=2))) == (
        b'{"task_id":0,"input_ids":[13,10,22,34,12],"output_tokens":2}\n'
        b'{"task_id":1,"input_ids":[49,3,46,32,47],"output_tokens":2}\n'
    )
    bits = random.Random("1:tokens")
    first = [3 + (bits.getrandbits(32) * 47 >> 32) for _ in range(5)]
    assert first == [13, 10, 22, 34, 12]


def test_format() -> None:
    """Fields and kinds as bench/utils/data.py @a6ad8019 reads them; lines end alike, without spaces."""
    for number, line in enumerate(dataset_lines(spec())):
        row = json.loads(line)
        assert line == json.dumps(row, separators=(",", ":")).encode() + b"\n"
        assert list(row) == ["task_id", "input_ids", "output_tokens"]
        assert row["task_id"] == number
        assert 3 <= len(row["input_ids"]) <= 6
        assert row["output_tokens"] == 2


def test_excluded_ids_never_occur_and_all_others_do() -> None:
    ids = {token for row in rows(spec(Uniform(500, 500), requests=10)) for token in row["input_ids"]}
    assert ids == set(range(3, 50))


def test_ids_are_uniform() -> None:
    """100,000 draws of 20 ids: 5,000 each, give or take five standard deviations (69 each)."""
    (row,) = rows(spec(Uniform(100_000, 100_000), requests=1, vocab_size=20, excluded=frozenset()))
    ids: list[int] = row["input_ids"]
    counts = [ids.count(token) for token in range(20)]
    assert min(counts) > 5000 - 345
    assert max(counts) < 5000 + 345


def test_output_lengths_leave_the_prompts_alone() -> None:
    prompts = [row["input_ids"] for row in rows(spec())]
    assert [row["input_ids"] for row in rows(spec(osl=Uniform(5, 90)))] == prompts


def test_a_larger_dataset_starts_with_the_smaller_one() -> None:
    assert rows(spec(requests=9))[:4] == rows(spec())


def test_seeds_differ() -> None:
    assert rows(spec(seed=1)) != rows(spec(seed=2))


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    written = write_dataset(path, spec())
    data = path.read_bytes()
    drawn = [json.loads(line) for line in data.splitlines()]
    lengths = [len(row["input_ids"]) for row in drawn]
    assert (written.path, written.size_bytes, written.requests) == (path, len(data), 4)
    assert written.sha256 == hashlib.sha256(data).hexdigest()
    assert (written.mean_isl, written.mean_osl) == (sum(lengths) / 4, 2.0)
    assert (written.max_isl, written.max_osl, written.max_seq_len) == (max(lengths), 2, max(lengths) + 2)
    assert write_dataset(tmp_path / "again.jsonl", spec()).sha256 == written.sha256


def test_requests_that_are_drawn_already(tmp_path: Path) -> None:
    requests = (RequestSpec(0, (5, 6, 7), 2), RequestSpec(1, (8,), 9, arrival_s=0.5))
    written = write_requests(tmp_path / "d.jsonl", requests)
    assert written.path.read_bytes() == (
        b'{"task_id":0,"input_ids":[5,6,7],"output_tokens":2}\n{"task_id":1,"input_ids":[8],"output_tokens":9}\n'
    )
    assert (written.mean_isl, written.mean_osl, written.max_seq_len) == (2.0, 5.5, 10)
    with pytest.raises(RecipeError, match=r"bench\.requests: a dataset of 0 requests"):
        write_requests(tmp_path / "none.jsonl", ())
    assert [file.name for file in tmp_path.iterdir()] == ["d.jsonl"]


def test_nothing_is_left_of_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_dataset(path, spec())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("d.jsonl", "old")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (spec(requests=0), "bench.requests: a dataset of 0 requests"),
        (spec(isl=Uniform(0, 5)), "bench.isl: lengths from 0 to 5. Write 1 ≤ min ≤ max"),
        (spec(osl=Uniform(6, 5)), "bench.osl: lengths from 6 to 5. Write 1 ≤ min ≤ max"),
        (spec(isl=Normal(0.5, 1, 9)), "bench.isl: a mean of 0.5 ± 1 tokens from 1 to 9"),
        (spec(isl=Normal(10, 1, 9)), "bench.isl: a mean of 10 ± 1 tokens from 1 to 9"),
        (spec(osl=Normal(5, -1, 9)), "bench.osl: a mean of 5 ± -1 tokens from 1 to 9"),
        (spec(osl=Normal(5, float("nan"), 9)), "bench.osl: a mean of 5 ± nan tokens from 1 to 9"),
        (spec(vocab_size=3), "bench: no token is left of a vocabulary of 3"),
    ],
)
def test_what_cannot_be_drawn(wrong: DatasetSpec, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        write_dataset(tmp_path / "d.jsonl", wrong)
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []
