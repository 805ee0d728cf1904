"""Records of a sweep: write-once, validated whenever they are read, and all that a report reads.

    <bench.output>/<recipe name>-<sweep id>/
      sweep.json                        the plan: resolved recipes, bundle and prompt hashes, points
      env/<env id>.json                 the fingerprint of machine and software
      trials/<point id>/r<repeat>-<attempt>/
        trial.json                      conditions, status, checks, metrics
        requests.jsonl.gz               one line a request
        report.json, stdout.log, ...    what else the runner left; trial.json has the SHA-256 of each
      index.jsonl                       one line a trial: made from the above, and made anew where it is lost

A trial is written under a temporary name in the same folder, made durable and renamed, so a folder with a trial's
name is a whole trial. A failed or damaged one is never replaced: its repetition is the next attempt.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.bench.canonical import canonical_json, digest
from toolkit.bench.environment import Environment
from toolkit.bench.evidence import check_evidence
from toolkit.bench.files import remove_unfinished, write_folder
from toolkit.bench.grid import Point
from toolkit.bench.plan_record import SweepRecord, upgrade_sweep
from toolkit.bench.reading import read_bytes, read_record
from toolkit.bench.trial import Record, Trial, upgrade_trial
from toolkit.checkpoint.files import write_atomic
from toolkit.errors import RecordError

SWEEP_FILE, TRIAL_FILE, INDEX_FILE = "sweep.json", "trial.json", "index.jsonl"
TRIALS = "trials"


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

    @property
    def ok(self) -> tuple[Trial, ...]:
        """The ``ok`` trials, the first one where a point has several."""
        found: dict[Point, Trial] = {}
        for trial in self.trials:
            if trial.status == "ok":
                found.setdefault(trial.point, trial)
        return tuple(found.values())


@contextmanager
def open_sweep(folder: Path, sweep: SweepRecord, environment: Environment) -> Iterator[None]:
    """Make ``folder`` ready for trials of ``sweep`` and keep other runs out of it until the end of the block.

    Removes what a killed run left half-written. Raises ``RecordError`` when another run is in it, it holds another
    sweep or cannot be written.
    """
    with locked(folder):
        try:
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
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a sweep's folder, which is made if need be; ``RecordError`` when one is in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecordError(
                "another run is measuring this sweep", where=str(folder), hint="Wait until it ends"
            ) from None
        yield
    finally:
        os.close(descriptor)


def write_trial(folder: Path, trial: Trial, evidence: Mapping[str, bytes]) -> Path:
    """Write one trial into the sweep ``folder`` and return its own; ``RecordError`` if that exists or the disk is full.

    ``evidence`` holds the files whose SHA-256 the trial has. Nothing of a trial that could not be written is left.
    """
    assert trial.evidence == digests(evidence)
    target = _trial_folder(folder, trial.point, trial.attempt)
    try:
        write_folder(target, {**evidence, TRIAL_FILE: _to_json(trial)})
    except OSError as error:
        hint = "Make room and run the sweep again: it goes on with this trial"
        raise RecordError(f"cannot write the trial: {error.strerror}", where=str(target), hint=hint) from error
    return target


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def next_attempt(folder: Path, point: Point) -> int:
    """The first attempt number that has no folder yet, whole or damaged; from 1."""
    attempt = 1
    while _trial_folder(folder, point, attempt).exists():
        attempt += 1
    return attempt


def read_trial(folder: Path) -> Trial:
    """The trial in ``folder``; ``RecordError`` names the file.

    Its schema and place are checked, that its files are those which were written, and that checks and metrics are what
    they come to.
    """
    path = folder / TRIAL_FILE
    trial = read_record(path, Trial, {1: upgrade_trial})
    place = f"{folder.parent.name}/{folder.name}"
    if trial.point_id != trial.point.point_id or trial.trial_id != place:
        raise RecordError(f"it is trial {trial.trial_id}, its folder says {place}", where=str(path))
    if (trial.status == "ok") != (trial.metrics is not None):
        raise RecordError(f"status {trial.status!r} and its metrics contradict each other", where=str(path))
    check_evidence(trial, folder, path)
    return trial


def read_sweep(folder: Path) -> SweepRecord:
    """The sweep that ``folder`` belongs to; ``RecordError`` when its id is not that of its plan."""
    path = folder / SWEEP_FILE
    sweep = read_record(path, SweepRecord, {1: upgrade_sweep})
    if sweep.sweep_id != digest(json.loads(read_bytes(path))["plan"], 8):
        raise RecordError("its id is not that of its plan", where=str(path))
    return sweep


def scan_sweep(folder: Path) -> Scan:
    """Read a sweep folder whole. Damaged trials are listed, a damaged sweep or environment file is raised."""
    sweep = read_sweep(folder)
    environment = read_record(_environment_path(folder, sweep.plan.environment), Environment, {1: _itself})
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


def write_index(folder: Path, trials: Sequence[Trial]) -> Path:
    """Write ``index.jsonl``: what a look at the sweep needs of each trial, in the order of their starts."""
    lines = [canonical_json(_line(trial)) for trial in sorted(trials, key=lambda one: (one.started_at, one.trial_id))]
    path = folder / INDEX_FILE
    try:
        write_atomic(path, b"".join(line + b"\n" for line in lines))
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def _line(trial: Trial) -> dict[str, Any]:
    metrics = trial.metrics
    return {
        "trial": trial.trial_id,
        "status": trial.status,
        "runner": trial.runner,
        **trial.point.conditions,
        "variant": trial.variant,
        "repeat": trial.point.repeat,
        "attempt": trial.attempt,
        "why": trial.why,
        "started_at": trial.started_at,
        "tok_s": None if metrics is None else metrics.system_output_throughput_tok_s,
        "tok_s_user": None if metrics is None else metrics.output_throughput_per_user_tok_s,
    }


def _itself(document: dict[str, Any]) -> dict[str, Any]:
    """Environments read schema 1 without help."""
    return document


def _trial_folder(folder: Path, point: Point, attempt: int) -> Path:
    return folder / TRIALS / point.point_id / f"r{point.repeat}-{attempt}"


def _environment_path(folder: Path, env_id: str) -> Path:
    return folder / "env" / f"{env_id}.json"


def _unwritable(path: Path, error: OSError) -> RecordError:
    return RecordError(f"cannot write it: {error.strerror}", where=str(path), hint="Make room, or set bench.output")


def _to_json(record: Record | Environment) -> bytes:
    return (record.model_dump_json(indent=2) + "\n").encode()
