"""What a trial's record must agree with: the files beside it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from toolkit.bench.canonical import canonical_json
from toolkit.bench.checks import Check, check_trial, status_of
from toolkit.bench.metrics import Metrics, compute_metrics
from toolkit.bench.reading import first_line, read_bytes
from toolkit.bench.request import RequestRecord
from toolkit.bench.trial import REQUESTS_FILE, Trial
from toolkit.bench.trtllm.argv import PointFiles
from toolkit.bench.trtllm.evidence import gather
from toolkit.bench.trtllm.metrics import metrics_of
from toolkit.errors import RecordError

Request = TypeVar("Request", bound=BaseModel)
AGAIN = "Measure the point again"


def pack_requests(requests: Sequence[BaseModel]) -> bytes:
    """The bytes of ``requests.jsonl.gz``; equal requests give equal bytes."""
    lines = b"".join(canonical_json(request.model_dump()) + b"\n" for request in requests)
    return gzip.compress(lines, mtime=0)


def read_requests(path: Path, model: type[Request]) -> tuple[Request, ...]:
    """What ``pack_requests`` wrote; ``RecordError`` for anything else."""
    try:
        lines = gzip.decompress(read_bytes(path)).splitlines()
        return tuple(model.model_validate_json(line) for line in lines)
    except (OSError, EOFError, ValidationError) as error:
        raise RecordError(f"not request records: {first_line(error)}", where=str(path)) from None


def check_evidence(trial: Trial, folder: Path, record: Path) -> None:
    """Raise ``RecordError`` unless the trial's files are those which were written, and say what its ``record`` says.

    Its conditions were seen while it ran, and are believed.
    """
    for name, sha256 in trial.evidence.items():
        if hashlib.sha256(read_bytes(folder / name)).hexdigest() != sha256:
            raise RecordError(f"its SHA-256 is not the one in {record.name}", where=str(folder / name), hint=AGAIN)
    checks, metrics = _of_report(folder) if trial.runner == "trtllm-bench" else _of_requests(trial, folder)
    if trial.checks != checks:
        raise RecordError("its checks are not those of its requests", where=str(record), hint=AGAIN)
    if trial.status != "ok":
        return
    if status_of(trial.error, (*trial.checks, *trial.conditions)) != "ok":
        raise RecordError("its status is ok, but its checks are not", where=str(record), hint=AGAIN)
    if trial.metrics != metrics:
        raise RecordError("its metrics are not those of its requests", where=str(record), hint=AGAIN)


def _of_requests(trial: Trial, folder: Path) -> tuple[tuple[Check, ...], Metrics | None]:
    if REQUESTS_FILE not in trial.evidence:
        raise RecordError(f"it names no {REQUESTS_FILE}", where=str(folder), hint=AGAIN)
    requests = read_requests(folder / REQUESTS_FILE, RequestRecord)
    workload = trial.recipe.get("bench", {}).get("workload") or {"kind": "fixed"}
    checks = check_trial(trial.point, requests, fixed=workload["kind"] == "fixed")
    return checks, compute_metrics(requests) if trial.status == "ok" else None


def _of_report(folder: Path) -> tuple[tuple[Check, ...], Metrics | None]:
    measurement = gather(PointFiles(folder)).measurement
    return (), None if measurement is None else metrics_of(measurement)
