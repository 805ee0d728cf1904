"""What reports show, from records alone: one table for each kind of hardware, machine and runner."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from toolkit.bench.canonical import digest
from toolkit.bench.metrics import Percentiles
from toolkit.bench.plan_record import OWN_SERVER, VariantPlan
from toolkit.bench.records import Scan
from toolkit.bench.trial import Trial
from toolkit.errors import RecordError
from toolkit.recipe import RunnerKind


@dataclass(frozen=True, slots=True)
class Row:
    """One point of one run; each figure is the median over its ``trials``. TPOT is None for outputs of one token, and
    so is whatever the runner does not say. ``concurrency`` is 0 in an open loop."""

    run: str
    variant: str
    isl: int
    osl: int
    concurrency: int
    requests: int
    trials: int
    tok_s: float
    tok_s_user: float
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    tpot_p50_ms: float | None
    tpot_p99_ms: float | None
    rate: float | None = None

    @property
    def load(self) -> str:
        """Requests in flight, or a second."""
        if self.rate is not None:
            return f"{self.rate:g}/s"
        return str(self.concurrency) if self.concurrency else "replay"


@dataclass(frozen=True, slots=True)
class Measures:
    """What one name in the tables stands for; ``bundle`` is a hash of what its runtime loads."""

    variant: str
    target: str
    bundle: str


@dataclass(frozen=True, slots=True)
class Run:
    """Where the numbers of one sweep come from. ``measured`` counts trials, ``planned`` too on a grid and points
    elsewhere; ``load_average`` is the lowest and highest of the minute before a trial, ``disturbed`` counts trials
    beside which others used the CPU."""

    name: str
    strategy: str
    planned: int
    measured: int
    started_at: str | None
    ended_at: str | None
    load_average: tuple[float, float] | None
    disturbed: int
    variants: tuple[Measures, ...]
    environment: str
    software: dict[str, str]
    git_commit: str | None
    source: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Everything measured on one machine by one runner: what different ones measure is not the same."""

    hardware: str
    machine: str
    runner: RunnerKind
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
    """Sweeps on different hardware or machines, or by different runners, never share a table."""
    groups: dict[tuple[str, str, RunnerKind], list[Scan]] = {}
    ordered = sorted(scans, key=lambda scan: scan.sweep.title)
    for scan in ordered:
        groups.setdefault((scan.sweep.hardware, _machine(scan), scan.sweep.plan.runner), []).append(scan)
    tables = (
        Table(
            hardware, machine, runner, tuple(map(_run, members)), tuple(row for scan in members for row in _rows(scan))
        )
        for (hardware, machine, runner), members in sorted(groups.items())
    )
    return Summary(tuple(tables), tuple(left for scan in ordered for left in _left_out(scan)))


def _machine(scan: Scan) -> str:
    machine, server = scan.environment.hardware, scan.sweep.plan.server
    # the fingerprint is that of the client's machine
    return machine if server == OWN_SERVER else f"client on {machine}, server on {server}"


def _rows(scan: Scan) -> list[Row]:
    groups: dict[str, list[Trial]] = {}
    for trial in scan.ok:
        groups.setdefault(trial.point_id, []).append(trial)
    order = [variant.name for variant in scan.sweep.plan.variants]
    rows = [_row(scan.sweep.title, trials) for trials in groups.values()]
    return sorted(rows, key=lambda row: (row.isl, row.osl, row.concurrency, row.rate or 0.0, order.index(row.variant)))


def _row(run: str, trials: Sequence[Trial]) -> Row:
    point = trials[0].point
    metrics = [trial.metrics for trial in trials if trial.metrics is not None]
    return Row(
        run=run,
        variant=point.variant,
        isl=point.isl,
        osl=point.osl,
        concurrency=point.concurrency,
        rate=point.rate,
        requests=point.requests,
        trials=len(metrics),
        tok_s=median(metric.system_output_throughput_tok_s for metric in metrics),
        tok_s_user=median(metric.output_throughput_per_user_tok_s for metric in metrics),
        ttft_p50_ms=_median([metric.ttft_ms for metric in metrics], "p50"),
        ttft_p99_ms=_median([metric.ttft_ms for metric in metrics], "p99"),
        tpot_p50_ms=_median([metric.tpot_ms for metric in metrics], "p50"),
        tpot_p99_ms=_median([metric.tpot_ms for metric in metrics], "p99"),
    )


def _median(values: Sequence[Percentiles | None], rank: Literal["p50", "p99"]) -> float | None:
    known: list[float] = [getattr(value, rank) for value in values if value is not None]
    return median(known) if known else None


def _run(scan: Scan) -> Run:
    plan, trials = scan.sweep.plan, scan.ok
    identity = scan.environment.identity
    loads = [trial.load_average_1m for trial in trials]
    return Run(
        name=scan.sweep.title,
        strategy=plan.strategy,
        planned=len(plan.points),
        measured=len(trials),
        started_at=min((trial.started_at for trial in trials), default=None),
        ended_at=max((trial.ended_at for trial in trials), default=None),
        load_average=(min(loads), max(loads)) if loads else None,
        disturbed=sum(any(not one.passed for one in trial.conditions) for trial in trials),
        variants=tuple(Measures(one.name, _target(one), digest(one.bundle, 12)) for one in plan.variants),
        environment=scan.environment.env_id,
        software={name: text for name, text in {**identity.software, "blas": identity.blas}.items() if text},
        git_commit=scan.environment.context.git_commit,
        source=identity.trtkit_source,
        commands=tuple(dict.fromkeys(shlex.join(trial.argv) for trial in trials)),
    )


def _target(variant: VariantPlan) -> str:
    target, engine = variant.recipe["target"], variant.recipe["engine"]
    if target["runtime"] == "cpu":
        return f"cpu, {engine['precision']}, experts {engine['experts']}"
    return f"{target['runtime']} {target['release']}, {variant.gpus} × {target['gpu']}"


def _left_out(scan: Scan) -> list[LeftOut]:
    run = scan.sweep.title
    left = [LeftOut(run, trial.trial_id, trial.status, trial.reason) for trial in scan.trials if trial.status != "ok"]
    return left + [LeftOut(run, _inside(scan, error), "damaged", error.what) for error in scan.damaged]


def _inside(scan: Scan, error: RecordError) -> str:
    """The damaged file, from the sweep's folder."""
    return str(Path(error.where or "").relative_to(scan.folder))
