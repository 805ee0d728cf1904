"""What reports show, from records alone: one table for each kind of hardware and machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from toolkit.bench.canonical import digest
from toolkit.bench.records import OWN_SERVER, Scan, Trial
from toolkit.errors import RecordError


@dataclass(frozen=True, slots=True)
class Row:
    """One point of one run; each figure is the median over its ``trials``. TPOT is None for outputs of one token."""

    run: str
    isl: int
    osl: int
    concurrency: int
    requests: int
    trials: int
    tok_s: float
    tok_s_user: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    tpot_p50_ms: float | None
    tpot_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """Where the numbers of one sweep come from; ``planned`` and ``measured`` count trials."""

    name: str
    planned: int
    measured: int
    started_at: str | None
    ended_at: str | None
    target: str
    bundle: str
    environment: str
    software: dict[str, str]
    git_commit: str | None
    source: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Everything measured on one machine."""

    hardware: str
    machine: str
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A trial that is in no table, and why."""

    run: str
    trial: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    tables: tuple[Table, ...]
    left_out: tuple[LeftOut, ...]


def summarize(scans: Iterable[Scan]) -> Summary:
    """Sweeps on different hardware or machines never share a table."""
    groups: dict[tuple[str, str], list[Scan]] = {}
    ordered = sorted(scans, key=lambda scan: scan.sweep.title)
    for scan in ordered:
        groups.setdefault((scan.sweep.hardware, _machine(scan)), []).append(scan)
    tables = (
        Table(hardware, machine, tuple(map(_run, members)), tuple(row for scan in members for row in _rows(scan)))
        for (hardware, machine), members in sorted(groups.items())
    )
    return Summary(tuple(tables), tuple(left for scan in ordered for left in _left_out(scan)))


def _machine(scan: Scan) -> str:
    machine, server = scan.environment.hardware, scan.sweep.plan.server
    # the fingerprint is that of the client's machine
    return machine if server == OWN_SERVER else f"client on {machine}, server on {server}"


def _ok(scan: Scan) -> list[Trial]:
    trials = (scan.finished(point) for point in scan.sweep.plan.points)
    return [trial for trial in trials if trial is not None]


def _rows(scan: Scan) -> list[Row]:
    groups: dict[str, list[Trial]] = {}
    for trial in _ok(scan):
        groups.setdefault(trial.point_id, []).append(trial)
    rows = [_row(scan.sweep.title, trials) for trials in groups.values()]
    return sorted(rows, key=lambda row: (row.isl, row.osl, row.concurrency))


def _row(run: str, trials: Sequence[Trial]) -> Row:
    point = trials[0].point
    metrics = [trial.metrics for trial in trials if trial.metrics is not None]
    tpots = [metric.tpot_ms for metric in metrics if metric.tpot_ms is not None]
    return Row(
        run=run,
        isl=point.isl,
        osl=point.osl,
        concurrency=point.concurrency,
        requests=point.requests,
        trials=len(metrics),
        tok_s=median(metric.system_output_throughput_tok_s for metric in metrics),
        tok_s_user=median(metric.output_throughput_per_user_tok_s for metric in metrics),
        ttft_p50_ms=median(metric.ttft_ms.p50 for metric in metrics),
        ttft_p99_ms=median(metric.ttft_ms.p99 for metric in metrics),
        tpot_p50_ms=median(tpot.p50 for tpot in tpots) if tpots else None,
        tpot_p99_ms=median(tpot.p99 for tpot in tpots) if tpots else None,
    )


def _run(scan: Scan) -> Run:
    plan, trials = scan.sweep.plan, _ok(scan)
    target, engine = plan.recipe["target"], plan.recipe["engine"]
    identity = scan.environment.identity
    return Run(
        name=scan.sweep.title,
        planned=len(plan.points),
        measured=len(trials),
        started_at=min((trial.started_at for trial in trials), default=None),
        ended_at=max((trial.ended_at for trial in trials), default=None),
        target=f"{target['runtime']}, {engine['precision']}" if target["runtime"] == "cpu" else target["runtime"],
        bundle=digest(plan.bundle, 12),
        environment=scan.environment.env_id,
        software={name: text for name, text in {**identity.software, "blas": identity.blas}.items() if text},
        git_commit=scan.environment.context.git_commit,
        source=identity.trtkit_source,
        commands=tuple(dict.fromkeys(shlex.join(trial.argv) for trial in trials)),
    )


def _left_out(scan: Scan) -> list[LeftOut]:
    run = scan.sweep.title
    left = [LeftOut(run, trial.trial_id, trial.status, trial.reason) for trial in scan.trials if trial.status != "ok"]
    return left + [LeftOut(run, _inside(scan, error), "damaged", error.what) for error in scan.damaged]


def _inside(scan: Scan, error: RecordError) -> str:
    """The damaged file, from the sweep's folder."""
    return str(Path(error.where or "").relative_to(scan.folder))
