"""Records of a sweep: write-once, validated whenever they are read, and all that a report reads.

    <bench.output>/<recipe name>-<sweep id>/
      sweep.json                        the plan: resolved recipe, bundle and prompt hashes, points in their order
      env/<env id>.json                 the fingerprint of machine and software
      trials/<point id>/r<repeat>-<attempt>/
        trial.json                      conditions, status, checks, metrics
        requests.jsonl.gz               one line a request, with the receipt time of every token

A trial is written under a temporary name in the same folder, made durable and renamed, so a folder with a trial's
name is a whole trial. A failed or damaged one is never replaced: its repetition is the next attempt.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.bench.canonical import canonical_json, digest
from toolkit.bench.checks import Check, Status, check_trial, status_of
from toolkit.bench.environment import Environment
from toolkit.bench.files import remove_unfinished, write_folder
from toolkit.bench.grid import Point
from toolkit.bench.metrics import Metrics, compute_metrics
from toolkit.bench.request import RequestRecord
from toolkit.checkpoint.files import write_atomic
from toolkit.errors import RecordError

Model = TypeVar("Model", bound=BaseModel)
OWN_SERVER = "on this machine"
SWEEP_FILE, TRIAL_FILE, REQUESTS_FILE = "sweep.json", "trial.json", "requests.jsonl.gz"
TRIALS = "trials"
AGAIN = "Measure the point again"


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServedBy(Record):
    """What was measured through."""

    url: str
    started_by_bench: bool


class Trial(Record):
    """One measured point. ``failed``: a request or its warm-up ended in an error; ``invalid``: a check does not hold.

    ``metrics`` are there for ``ok`` alone. ``recipe`` and ``argv`` name no folder of the machine.
    """

    schema_version: Literal[1] = 1
    sweep_id: str
    point_id: str
    point: Point
    attempt: int
    status: Status
    error: str | None
    hardware: str
    env_id: str
    server: ServedBy
    load_average_1m: float
    argv: tuple[str, ...]
    recipe: dict[str, Any]
    prompts_sha256: str
    started_at: str
    ended_at: str
    checks: tuple[Check, ...]
    metrics: Metrics | None
    requests_sha256: str

    @property
    def trial_id(self) -> str:
        return f"{self.point_id}/r{self.point.repeat}-{self.attempt}"

    @property
    def reason(self) -> str:
        """Why it is not ``ok``."""
        return self.error or "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.passed)


class SweepPlan(Record):
    """Everything that a sweep's measurements depend on.

    ``bundle`` holds the SHA-256 of each file that the runtime loads, ``environment`` an env id, ``points`` the trials
    in their order. ``server`` is ``OWN_SERVER`` for one on this machine, which the environment describes, else its
    host.
    """

    recipe: dict[str, Any]
    bundle: dict[str, str]
    prompts_sha256: str | None
    environment: str
    server: str
    points: tuple[Point, ...]


class SweepRecord(Record):
    """A plan and the id that is hashed from it."""

    schema_version: Literal[1] = 1
    sweep_id: str
    name: str
    hardware: str
    plan: SweepPlan

    @property
    def title(self) -> str:
        """Name of the sweep's folder."""
        return f"{self.name}-{self.sweep_id}"


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything in one sweep folder: whole trials, and an error for each damaged one."""

    folder: Path
    sweep: SweepRecord
    environment: Environment
    trials: tuple[Trial, ...]
    damaged: tuple[RecordError, ...]

    def finished(self, point: Point) -> Trial | None:
        """The ``ok`` trial of ``point``, repeat included."""
        return next((trial for trial in self.trials if trial.status == "ok" and trial.point == point), None)


def pack_requests(requests: Sequence[RequestRecord]) -> bytes:
    """The bytes of ``requests.jsonl.gz``; equal requests give equal bytes."""
    lines = b"".join(canonical_json(request.model_dump()) + b"\n" for request in requests)
    return gzip.compress(lines, mtime=0)


@contextmanager
def open_sweep(folder: Path, sweep: SweepRecord, environment: Environment) -> Iterator[None]:
    """Make ``folder`` ready for trials of ``sweep`` and keep other runs out of it until the end of the block.

    Removes what a killed run left half-written. Raises ``RecordError`` when another run is in it or it holds another
    sweep.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        remove_unfinished(folder)
        path = folder / SWEEP_FILE
        if not path.exists():
            write_atomic(path, _to_json(sweep))
        elif read_sweep(folder) != sweep:
            raise RecordError("it holds another sweep", where=str(path), hint="Move the folder away")
        path = _environment_path(folder, environment.env_id)
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            write_atomic(path, _to_json(environment))
        yield
    finally:
        os.close(descriptor)


def write_trial(folder: Path, trial: Trial, requests: bytes) -> Path:
    """Write one trial into the sweep ``folder`` and return its own; ``RecordError`` if that exists."""
    target = _trial_folder(folder, trial.point, trial.attempt)
    try:
        write_folder(target, {REQUESTS_FILE: requests, TRIAL_FILE: _to_json(trial)})
    except OSError as error:
        raise RecordError(f"cannot write the trial: {error.strerror}", where=str(target)) from error
    return target


def next_attempt(folder: Path, point: Point) -> int:
    """The first attempt number that has no folder yet, whole or damaged; from 1."""
    attempt = 1
    while _trial_folder(folder, point, attempt).exists():
        attempt += 1
    return attempt


def read_trial(folder: Path) -> Trial:
    """The trial in ``folder``; ``RecordError`` names the file.

    Its schema and place are checked, that its requests are those which were written, and that checks and metrics are
    what they come to.
    """
    path = folder / TRIAL_FILE
    trial = _read(path, Trial)
    place = f"{folder.parent.name}/{folder.name}"
    if trial.point_id != trial.point.point_id or trial.trial_id != place:
        raise RecordError(f"it is trial {trial.trial_id}, its folder says {place}", where=str(path))
    if (trial.status == "ok") != (trial.metrics is not None):
        raise RecordError(f"status {trial.status!r} and its metrics contradict each other", where=str(path))
    requests = _unpack(folder / REQUESTS_FILE, trial.requests_sha256)
    if trial.checks != check_trial(trial.point, requests):
        raise RecordError("its checks are not those of its requests", where=str(path), hint=AGAIN)
    if trial.status == "ok" and status_of(trial.error, trial.checks) != "ok":
        raise RecordError("its status is ok, but its checks are not", where=str(path), hint=AGAIN)
    if trial.status == "ok" and trial.metrics != compute_metrics(requests):
        raise RecordError("its metrics are not those of its requests", where=str(path), hint=AGAIN)
    return trial


def _unpack(path: Path, sha256: str) -> tuple[RequestRecord, ...]:
    data = _bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RecordError("its SHA-256 is not the one in trial.json", where=str(path), hint=AGAIN)
    try:
        lines = gzip.decompress(data).splitlines()
        return tuple(RequestRecord.model_validate_json(line) for line in lines)
    except (OSError, EOFError, ValidationError) as error:
        raise RecordError(f"not request records: {_first_line(error)}", where=str(path)) from None


def read_sweep(folder: Path) -> SweepRecord:
    """The sweep that ``folder`` belongs to; ``RecordError`` when its id is not that of its plan."""
    path = folder / SWEEP_FILE
    sweep = _read(path, SweepRecord)
    if sweep.sweep_id != digest(sweep.plan.model_dump(mode="json"), 8):
        raise RecordError("its id is not that of its plan", where=str(path))
    return sweep


def scan_sweep(folder: Path) -> Scan:
    """Read a sweep folder whole. Damaged trials are listed, a damaged sweep or environment file is raised."""
    sweep = read_sweep(folder)
    environment = _read(_environment_path(folder, sweep.plan.environment), Environment)
    trials: list[Trial] = []
    damaged: list[RecordError] = []
    for path in sorted((folder / TRIALS).glob("[!.]*/[!.]*")):
        try:
            trial = read_trial(path)
            if (trial.sweep_id, trial.env_id) != (sweep.sweep_id, sweep.plan.environment):
                raise RecordError("it belongs to another sweep", where=str(path / TRIAL_FILE))
            trials.append(trial)
        except RecordError as error:
            damaged.append(error)
    return Scan(folder, sweep, environment, tuple(trials), tuple(damaged))


def _trial_folder(folder: Path, point: Point, attempt: int) -> Path:
    return folder / TRIALS / point.point_id / f"r{point.repeat}-{attempt}"


def _environment_path(folder: Path, env_id: str) -> Path:
    return folder / "env" / f"{env_id}.json"


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RecordError("another run is measuring this sweep", where=str(folder), hint="Wait until it ends") from None


def _to_json(record: Record | Environment) -> bytes:
    return (record.model_dump_json(indent=2) + "\n").encode()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read it: {error.strerror}", where=str(path)) from None


def _read(path: Path, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(_bytes(path))
    except ValidationError as error:
        raise RecordError(f"not a whole {model.__name__} record: {_first_line(error)}", where=str(path)) from None


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        keys = ".".join(str(part) for part in first["loc"])
        return f"{keys}: {first['msg']}" if keys else first["msg"]
    return str(error)
