"""The dataset that ``trtllm-bench`` reads: one JSON object a line, prompts as token ids, so that lengths are exact.

``trtllm-bench prepare-dataset`` seeds the lengths of inputs and outputs alike, so that long prompts get long answers
(tensorrt_llm/bench/dataset/prepare_synthetic_data.py @f00d21a). Here both are drawn independently of each other.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from toolkit.checkpoint.files import sync_folder
from toolkit.errors import RecipeError

REDRAWS = 1000


class Lengths(Protocol):
    """How many tokens a prompt or an output has."""

    @property
    def maximum(self) -> int: ...

    def check(self, where: str) -> None:
        """Raise ``RecipeError`` for lengths that cannot be drawn."""
        ...

    def draw(self, rng: random.Random) -> int: ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every length from ``minimum`` to ``maximum`` with the same probability; both alike for one fixed length."""

    minimum: int
    maximum: int

    def check(self, where: str) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise RecipeError(f"lengths from {self.minimum} to {self.maximum}", where=where, hint="Write 1 ≤ min ≤ max")

    def draw(self, rng: random.Random) -> int:
        return rng.randint(self.minimum, self.maximum)


@dataclass(frozen=True, slots=True)
class Normal:
    """Rounded draws of a normal distribution, drawn anew until from 1 to ``maximum``."""

    mean: float
    stdev: float
    maximum: int

    def check(self, where: str) -> None:
        if not (1 <= self.mean <= self.maximum and 0 <= self.stdev < float("inf")):
            what = f"a mean of {self.mean:g} ± {self.stdev:g} tokens with at most {self.maximum}"
            raise RecipeError(what, where=where, hint="Write 1 ≤ mean ≤ maximum and stdev ≥ 0")

    def draw(self, rng: random.Random) -> int:
        for _ in range(REDRAWS):
            if 1 <= (length := round(rng.normalvariate(self.mean, self.stdev))) <= self.maximum:
                return length
        return round(self.mean)  # a spread so wide that it is uniform


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """``excluded`` are ids that no prompt may hold: those of special tokens."""

    isl: Lengths
    osl: Lengths
    requests: int
    seed: int
    vocab_size: int
    excluded: Collection[int] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """A file that was written; lengths in tokens. ``max_seq_len`` is the largest ISL + OSL of one request."""

    path: Path
    sha256: str
    size_bytes: int
    requests: int
    mean_isl: float
    mean_osl: float
    max_isl: int
    max_osl: int
    max_seq_len: int


def draw_lengths(spec: DatasetSpec) -> list[tuple[int, int]]:
    """(ISL, OSL) of each request. A larger dataset of the same seed starts with these."""
    # a text seed is hashed with SHA-512 by `random`, so it does not depend on PYTHONHASHSEED
    inputs, outputs = random.Random(f"{spec.seed}:isl"), random.Random(f"{spec.seed}:osl")
    return [(spec.isl.draw(inputs), spec.osl.draw(outputs)) for _ in range(spec.requests)]


def dataset_lines(spec: DatasetSpec) -> Iterator[bytes]:
    """The lines; the same for the same spec on every machine. Raises ``RecipeError`` for a spec that has none."""
    ids = _check(spec)
    tokens = random.Random(f"{spec.seed}:tokens")
    for number, (isl, osl) in enumerate(draw_lengths(spec)):
        prompt = ",".join(map(str, _draw_ids(tokens, ids, isl)))
        yield f'{{"task_id":{number},"input_ids":[{prompt}],"output_tokens":{osl}}}\n'.encode()


def write_dataset(path: Path, spec: DatasetSpec) -> DatasetFile:
    """Write the lines beside ``path``, sync and rename: after a crash it is old, new or absent, never half."""
    part = path.with_name(f"{path.name}.tmp")
    digest, size = hashlib.sha256(), 0
    lines = dataset_lines(spec)
    try:
        with part.open("wb") as file:
            for line in lines:
                file.write(line)
                digest.update(line)
                size += len(line)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)
    lengths = draw_lengths(spec)
    return DatasetFile(
        path=path,
        sha256=digest.hexdigest(),
        size_bytes=size,
        requests=len(lengths),
        mean_isl=sum(isl for isl, _ in lengths) / len(lengths),
        mean_osl=sum(osl for _, osl in lengths) / len(lengths),
        max_isl=max(isl for isl, _ in lengths),
        max_osl=max(osl for _, osl in lengths),
        max_seq_len=max(isl + osl for isl, osl in lengths),
    )


def _check(spec: DatasetSpec) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The ids that prompts are drawn from, shape (vocabulary without excluded ids,), int64."""
    if spec.requests < 1:
        raise RecipeError(f"a dataset of {spec.requests} requests", where="bench.requests", hint="Write 1 or more")
    spec.isl.check("bench.isl")
    spec.osl.check("bench.osl")
    ids = np.setdiff1d(np.arange(spec.vocab_size), np.array(sorted(spec.excluded), np.int64))
    if not len(ids):
        what = f"no token is left of a vocabulary of {spec.vocab_size}"
        raise RecipeError(what, where="bench", hint="Check the tokenizer's vocabulary and its special tokens")
    return ids


def _draw_ids(rng: random.Random, ids: np.ndarray[tuple[int], np.dtype[np.int64]], count: int) -> list[int]:
    """Uniform with replacement: 32 random bits scaled to the number of ids, whose bias is below ids / 2³²."""
    bits = np.frombuffer(rng.randbytes(4 * count), "<u4").astype(np.uint64)
    chosen: list[int] = ids[(bits * np.uint64(len(ids))) >> np.uint64(32)].tolist()
    return chosen
