"""Run a sweep: ask the strategy, measure what it chooses, record each trial when it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.bench.bundles import open_bundles
from toolkit.bench.checks import status_of
from toolkit.bench.environment import utc_now
from toolkit.bench.events import Answered, Event, Finished, Resumed, Started
from toolkit.bench.hardware import Hardware, hardware_of
from toolkit.bench.plan_record import OWN_SERVER
from toolkit.bench.planner.types import Stop
from toolkit.bench.portable import portable_argv, portable_recipe
from toolkit.bench.records import Scan, digests, next_attempt, open_sweep, scan_sweep, write_index, write_trial
from toolkit.bench.requests import Requests
from toolkit.bench.runners.engine import EngineRunner
from toolkit.bench.runners.protocol import Measured, Runner, Session
from toolkit.bench.runners.triton import TritonRunner
from toolkit.bench.runners.trtllm_bench import TrtllmBenchRunner
from toolkit.bench.strategy import Choice, choose, next_block
from toolkit.bench.sweep import Sweep, outline, plan_sweep
from toolkit.bench.telemetry import (
    TELEMETRY_FILE,
    Recording,
    TelemetrySummary,
    check_telemetry,
    pack_rows,
    summarise,
)
from toolkit.bench.trial import Trial
from toolkit.bench.workload import Drawn
from toolkit.errors import EngineError, RecipeError, RecordError
from toolkit.recipe import Recipe


@dataclass(slots=True)
class SweepResult:
    """``trials`` are those of this run, ``skipped`` counts those of before. ``ended`` is why the strategy wants no
    more, ``stopped`` why the sweep ended before that."""

    folder: Path
    skipped: int
    trials: list[Trial] = field(default_factory=list)
    ended: str | None = None
    stopped: str | None = None

    @property
    def ok(self) -> bool:
        return self.stopped is None and all(trial.status == "ok" for trial in self.trials)


def runner_of(recipe: Recipe, url: str | None) -> Runner:
    """The recipe's runner. Raises ``RecipeError`` for a URL that it has no use for, ``EngineError`` for a target that
    it cannot measure."""
    kind, runtime = recipe.bench.runner, recipe.target.runtime
    if kind != "triton" and url is not None:
        raise RecipeError(f"runner {kind} measures no server", where="--url", hint="Type: --set bench.runner=triton")
    if kind == "trtllm-bench":
        if runtime == "cpu":
            hint = "Type: --set bench.runner=engine"
            raise EngineError("trtllm-bench measures runtime tensorrt-llm, not cpu", where="bench.runner", hint=hint)
        if recipe.bench.arrival.kind != "closed":
            raise RecipeError(
                "trtllm-bench sends requests in a closed loop only",
                where="bench.arrival.kind",
                hint="Set it to closed, or type: --set bench.runner=triton",
            )
        return TrtllmBenchRunner(recipe.bench.output)
    return EngineRunner() if kind == "engine" else TritonRunner(url)


def run_sweep(
    recipe: Recipe,
    *,
    url: str | None = None,
    argv: Sequence[str] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    runner: Runner | None = None,
) -> SweepResult:
    """Measure what ``recipe.bench`` asks for and has no ``ok`` trial yet; ``url`` (host:port) is of a running server.

    ``runner`` is by default that of the recipe. It is started once for all points of a variant that are known by then,
    and not at all if there is nothing to measure. A trial that fails is recorded and the sweep goes on, without its
    variant where nothing more can be measured of that. An interrupt leaves the finished trials and nothing of the
    running one. Raises ``BundleError``, ``RecipeError``, ``RecordError``, ``EngineError``, ``ServerError`` or
    ``ClientError`` when nothing can be measured or recorded.
    """
    runner = runner or runner_of(recipe, url)
    bundles = open_bundles(outline(recipe).variants)
    hardware = hardware_of(recipe)
    sweep = plan_sweep(recipe, bundles, hardware.environment, url)
    with open_sweep(sweep.folder, sweep.record, hardware.environment):
        scan = scan_sweep(sweep.folder)
        sources = {
            name: Requests.open(variant.recipe, variant.bundle.tokenizer_dir)
            for name, variant in sweep.variants.items()
        }
        for trial in scan.ok:
            _check_prompts(scan, trial, sources[trial.variant].draw(trial.point))
        write_index(sweep.folder, scan.trials)
        total = len(sweep.plan.points) if sweep.plan.strategy == "grid" else None
        on_event(Resumed(sweep.folder, len(scan.ok), total, scan.damaged))
        result = SweepResult(sweep.folder, len(scan.ok))
        _Run(sweep, hardware, runner, sources, tuple(argv), on_event, scan, result).run()
    return result


def _check_prompts(scan: Scan, trial: Trial, prompts: Drawn) -> None:
    if trial.prompts_sha256 != prompts.sha256:
        raise RecordError(
            "it was measured with other prompts than the recipe gives now",
            where=str(scan.folder / "trials" / trial.trial_id),
            hint="Move the sweep's folder away",
        )


@dataclass(slots=True)
class _Run:
    sweep: Sweep
    hardware: Hardware
    runner: Runner
    sources: dict[str, Requests]
    argv: tuple[str, ...]
    on_event: Callable[[Event], None]
    scan: Scan
    result: SweepResult
    broken: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """One session at a time, for as long as the strategy's next points are of its variant."""
        block = self._next(None)
        while block:
            for choice in block:
                # what cannot be drawn is known before anything is started
                self.sources[choice.point.variant].draw(choice.point)
            variant = block[0].point.variant
            with self.runner.open(self.sweep.variants[variant]) as session:
                while block and block[0].point.variant == variant:
                    self._measure_all(session, block)
                    block = self._next(variant)
        if self.broken:
            several = len(self.sweep.variants) > 1
            words = (f"{name}: {why}" if several else why for name, why in self.broken.items())
            self.result.stopped = "; ".join(words)

    def _next(self, running: str | None) -> Sequence[Choice]:
        """The next trials of one variant; none when the sweep has ended."""
        bench = self.sweep.recipe.bench
        # what failed before this run is tried again
        known = [*self.scan.ok, *self.result.trials]
        chosen = choose(self.sweep.plan, known, budget=bench.budget, without=self.broken)
        if isinstance(chosen, Stop):
            self.result.ended = chosen.reason
            return ()
        block = next_block(self.sweep.plan, chosen, running=running, rounds=bench.order == "rounds")
        # with a budget each trial may be the last
        return block if bench.budget is None else block[:1]

    def _measure_all(self, session: Session, choices: Sequence[Choice]) -> None:
        for choice in choices:
            stopped = self._trial(session, choice)
            if stopped is not None:
                self.broken[choice.point.variant] = stopped
                return

    def _trial(self, session: Session, choice: Choice) -> str | None:
        """Measure and record one trial; why its variant cannot be measured any more, if so."""
        point = choice.point
        source = self.sources[point.variant]
        drawn, arrival = source.draw(point), source.arrival(point)
        number = self.result.skipped + len(self.result.trials) + 1
        total = len(self.sweep.plan.points) if self.sweep.plan.strategy == "grid" else None
        self.on_event(Started(number, total, point, choice.why))
        load_average, started_at = os.getloadavg()[0], utc_now()
        with self.hardware.watched(own_server=self.sweep.plan.server == OWN_SERVER) as recording:
            start_ns = time.monotonic_ns()
            measured = session.measure(point, drawn, arrival, lambda count: self.on_event(Answered(count)))
            end_ns = time.monotonic_ns()
        seen = _Seen(load_average, started_at, start_ns, end_ns, recording)
        evidence = {**measured.evidence, TELEMETRY_FILE: pack_rows(recording.rows)}
        trial = self._record(choice, drawn, measured, seen, digests(evidence))
        write_trial(self.sweep.folder, trial, evidence)
        self.result.trials.append(trial)
        write_index(self.sweep.folder, [*self.scan.trials, *self.result.trials])
        self.on_event(Finished(trial))
        if measured.status == "interrupted":
            raise KeyboardInterrupt
        return measured.stopped

    def _record(self, choice: Choice, drawn: Drawn, measured: Measured, seen: _Seen, evidence: dict[str, str]) -> Trial:
        point, record = choice.point, self.sweep.record
        telemetry = seen.telemetry()
        conditions = (*measured.conditions, *check_telemetry(telemetry))
        status = measured.status
        if status == "ok":
            status = status_of(measured.error, (*measured.checks, *conditions))
        return Trial(
            sweep_id=record.sweep_id,
            point_id=point.point_id,
            point=point,
            attempt=next_attempt(self.sweep.folder, point),
            runner=self.runner.kind,
            why=choice.why,
            status=status,
            error=measured.error,
            hardware=record.hardware,
            env_id=self.sweep.environment.env_id,
            server=measured.server,
            load_average_1m=seen.load_average,
            argv=portable_argv(self.argv),
            command=measured.command,
            recipe=portable_recipe(self.sweep.variants[point.variant].recipe),
            prompts_sha256=drawn.sha256,
            started_at=seen.started_at,
            ended_at=utc_now(),
            duration_s=(seen.end_ns - seen.start_ns) / 1e9,
            checks=measured.checks,
            conditions=conditions,
            metrics=measured.metrics if status == "ok" else None,
            telemetry=telemetry,
            energy_j=telemetry.energy_j,
            evidence=evidence,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen around a measurement; times are of the monotonic clock, ``started_at`` is of the day's."""

    load_average: float
    started_at: str
    start_ns: int
    end_ns: int
    recording: Recording

    def telemetry(self) -> TelemetrySummary:
        recording = self.recording
        return summarise(
            recording.rows, self.start_ns, self.end_ns, period_s=recording.period_s, problem=recording.problem
        )
