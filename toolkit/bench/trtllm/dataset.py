"""The dataset that ``trtllm-bench`` reads: one JSON object a line, prompts as token ids, so that lengths are exact.

``trtllm-bench prepare-dataset`` seeds the lengths of inputs and outputs alike, so that long prompts get long answers
(tensorrt_llm/bench/dataset/prepare_synthetic_data.py @f00d21a). Here both are drawn independently of each other.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from toolkit.bench.workload.draw import RequestSpec
from toolkit.bench.workload.lengths import Lengths, draw_lengths
from toolkit.bench.workload.tokens import Prompt, draw_ids
from toolkit.checkpoint.files import sync_folder
from toolkit.errors import RecipeError


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


def dataset_requests(spec: DatasetSpec) -> Iterator[RequestSpec]:
    """The requests; the same for the same spec on every machine. Raises ``RecipeError`` for a spec that has none.

    A larger dataset of the same seed starts with these.
    """
    ids = _check(spec)
    tokens = random.Random(f"{spec.seed}:tokens")
    for number, (isl, osl) in enumerate(islice(draw_lengths(spec.isl, spec.osl, spec.seed), spec.requests)):
        yield RequestSpec(number, draw_ids(tokens, ids, isl), osl)


def dataset_line(request: RequestSpec) -> bytes:
    prompt = ",".join(map(str, request.prompt_ids))
    return f'{{"task_id":{request.id},"input_ids":[{prompt}],"output_tokens":{request.output_tokens}}}\n'.encode()


def write_dataset(path: Path, spec: DatasetSpec) -> DatasetFile:
    """``write_requests`` of ``dataset_requests``, one held at a time."""
    return write_requests(path, dataset_requests(spec))


def write_requests(path: Path, requests: Iterable[RequestSpec]) -> DatasetFile:
    """Write the lines beside ``path``, sync and rename: after a crash it is old, new or absent, never half.

    Requests that another runner measures, too, are the same to the token. Raises ``RecipeError`` for none.
    """
    part = path.with_name(f"{path.name}.tmp")
    digest, size = hashlib.sha256(), 0
    lengths: list[tuple[int, int]] = []
    try:
        with part.open("wb") as file:
            for request in requests:
                line = dataset_line(request)
                file.write(line)
                digest.update(line)
                size += len(line)
                lengths.append((len(request.prompt_ids), request.output_tokens))
            if not lengths:
                raise RecipeError("a dataset of 0 requests", where="bench.requests", hint="Write 1 or more")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)
    return _described(path, digest.hexdigest(), size, lengths)


def _described(path: Path, sha256: str, size: int, lengths: Sequence[tuple[int, int]]) -> DatasetFile:
    return DatasetFile(
        path=path,
        sha256=sha256,
        size_bytes=size,
        requests=len(lengths),
        mean_isl=sum(isl for isl, _ in lengths) / len(lengths),
        mean_osl=sum(osl for _, osl in lengths) / len(lengths),
        max_isl=max(isl for isl, _ in lengths),
        max_osl=max(osl for _, osl in lengths),
        max_seq_len=max(isl + osl for isl, osl in lengths),
    )


def _check(spec: DatasetSpec) -> Prompt:
    """The ids that prompts are drawn from: the vocabulary without the excluded ones."""
    if spec.requests < 1:
        raise RecipeError(f"a dataset of {spec.requests} requests", where="bench.requests", hint="Write 1 or more")
    spec.isl.check("bench.isl")
    spec.osl.check("bench.osl")
    excluded = frozenset(spec.excluded)
    ids = tuple(token for token in range(spec.vocab_size) if token not in excluded)
    if not ids:
        what = f"no token is left of a vocabulary of {spec.vocab_size}"
        raise RecipeError(what, where="bench", hint="Check the tokenizer's vocabulary and its special tokens")
    return ids
