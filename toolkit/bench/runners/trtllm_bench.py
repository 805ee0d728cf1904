"""Offline, by NVIDIA's ``trtllm-bench``: one process a point, which loads the model anew (it has no other way)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolkit.bench.checks import Status
from toolkit.bench.evidence import pack_requests
from toolkit.bench.grid import Point
from toolkit.bench.portable import portable_argv
from toolkit.bench.runners.protocol import Measured, Session, Variant
from toolkit.bench.trial import REQUESTS_FILE
from toolkit.bench.trtllm.argv import BenchPoint, PointFiles, bench_argv
from toolkit.bench.trtllm.dataset import write_requests
from toolkit.bench.trtllm.metrics import metrics_of
from toolkit.bench.trtllm.outcome import Expected, Outcome
from toolkit.bench.trtllm.runner import Limits, run_point
from toolkit.bench.workload import Arrival, Drawn
from toolkit.checkpoint.files import write_atomic
from toolkit.engine.bundle import CHECKPOINT, LLM_ARGS
from toolkit.errors import EngineError
from toolkit.recipe import Recipe, RunnerKind

COMMAND = "trtllm-bench"
ARGS_FILE = "extra_llm_api.yaml"
DATASET = "dataset.jsonl"
SCRATCH = ".run.tmp"
"""Ends as what a killed run leaves: the next one removes it."""


@dataclass(frozen=True, slots=True)
class TrtllmBenchRunner:
    """Each point in a folder of its own below ``scratch``, which is gone afterwards; what is kept goes into the record.
    ``env`` None is this process's environment."""

    scratch: Path
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] | None = None
    kind: RunnerKind = "trtllm-bench"

    @contextmanager
    def open(self, variant: Variant) -> Iterator[Session]:
        path = None if self.env is None else self.env.get("PATH")
        if shutil.which(COMMAND, path=path) is None:
            hint = "Run it in a TensorRT-LLM container, or see the command lines: --dry-run"
            raise EngineError(f"{COMMAND} is not in PATH", hint=hint)
        yield TrtllmBenchSession(variant, read_args(variant), self)


def point_argv(recipe: Recipe, args: Mapping[str, Any], args_file: Path, point: Point, folder: Path) -> tuple[str, ...]:
    """The command line of one point, whose dataset is in ``folder`` and whose results go below it.

    Raises ``PlanError`` for what trtllm-bench would not take; see ``bench_argv``.
    """
    bench = BenchPoint(
        # a folder as --model is refused: the recipe's name stands for a checkpoint that is not on the Hub
        model=recipe.checkpoint.repo or recipe.name,
        model_dir=recipe.engine.output / CHECKPOINT,
        args_file=args_file,
        args=args,
        dataset=folder / DATASET,
        requests=point.requests,
        concurrency=point.concurrency,
        warmup=point.warmup,
    )
    return bench_argv(str(recipe.target.release), bench, PointFiles(folder / "run"))


def read_args(variant: Variant) -> bytes:
    """The bundle's LLM arguments, as YAML; ``EngineError`` for a compiled engine, which has none."""
    path = variant.bundle.folder / LLM_ARGS
    if not path.is_file():
        hint = "Set target.backend=pytorch, or bench.runner=triton"
        raise EngineError(f"{COMMAND} is run on the PyTorch backend only", where=str(path), hint=hint)
    return path.read_bytes()


@dataclass(frozen=True, slots=True)
class TrtllmBenchSession:
    variant: Variant
    args: bytes
    runner: TrtllmBenchRunner

    def measure(self, point: Point, drawn: Drawn, arrival: Arrival, on_request: Callable[[int], None]) -> Measured:
        folder = self.runner.scratch / SCRATCH
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            return self._measure(folder, point, drawn, on_request)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _measure(self, folder: Path, point: Point, drawn: Drawn, on_request: Callable[[int], None]) -> Measured:
        write_atomic(folder / ARGS_FILE, self.args)
        dataset = write_requests(folder / DATASET, drawn.measured)
        args = yaml.safe_load(self.args)
        argv = point_argv(self.variant.recipe, args, folder / ARGS_FILE, point, folder)
        outcome = run_point(
            argv,
            PointFiles(folder / "run"),
            Expected(point.requests, dataset.mean_isl, dataset.mean_osl),
            limits=self.runner.limits,
            env=self.runner.env,
            on_progress=lambda progress: on_request(progress.done),
        )
        return _measured(outcome, portable_argv(argv), self.args)


def _measured(outcome: Outcome, command: tuple[str, ...], args: bytes) -> Measured:
    status: Status = "failed" if outcome.status == "no_report" else outcome.status
    report, error = outcome.measurement, outcome.reason or None
    metrics = metrics_of(report) if status == "ok" and report is not None else None
    if status == "ok" and metrics is None:
        missing = ", ".join(report.missing) if report is not None else "everything"
        status, error = "invalid", f"the report lacks {missing}"
    files = (outcome.files.report, outcome.files.stdout, outcome.files.stderr)
    evidence = {path.name: path.read_bytes() for path in files if path.exists()} | {ARGS_FILE: args}
    if outcome.requests is not None:
        evidence[REQUESTS_FILE] = pack_requests(outcome.requests)
    left = f"process {outcome.left[0]} of the last trial cannot be ended" if outcome.left else None
    return Measured(status, error, (), metrics, evidence=evidence, command=command, stopped=left)
