"""Run a sweep: skip what is finished, measure the rest, record each trial when it ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.bench.checks import check_trial, status_of
from toolkit.bench.environment import Environment, fingerprint, utc_now
from toolkit.bench.grid import Point
from toolkit.bench.load import Client, Load, run_load
from toolkit.bench.metrics import compute_metrics
from toolkit.bench.portable import portable_argv, portable_recipe
from toolkit.bench.records import (
    Scan,
    ServedBy,
    Trial,
    next_attempt,
    open_sweep,
    pack_requests,
    scan_sweep,
    write_trial,
)
from toolkit.bench.sweep import Sweep, plan_sweep
from toolkit.bench.watch import Endpoint, unwatched, while_alive
from toolkit.bench.workload import ClosedLoop, Drawn, draw, open_source
from toolkit.engine.bundle import Bundle
from toolkit.errors import ClientError, EngineError, RecordError, ServerError
from toolkit.recipe import Recipe
from toolkit.recipe.workload import WorkloadSection
from toolkit.serving.client import TritonClient
from toolkit.serving.server import serve_bundle


@dataclass(frozen=True, slots=True)
class Resumed:
    """``finished`` of ``total`` trials were measured before; ``damaged`` ones will be measured again."""

    folder: Path
    finished: int
    total: int
    damaged: tuple[RecordError, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """Trial ``number`` of ``total`` begins."""

    number: int
    total: int
    point: Point


@dataclass(frozen=True, slots=True)
class Answered:
    """``requests`` measured requests of the running trial have ended."""

    requests: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial was recorded."""

    trial: Trial


Event = Resumed | Started | Answered | Finished
Connect = Callable[[str, str], AbstractAsyncContextManager[Client]]
Serve = Callable[[Recipe, Bundle], AbstractContextManager[Endpoint]]


@dataclass(slots=True)
class SweepResult:
    """``trials`` are those of this run. ``stopped`` says why it ended before the last one."""

    folder: Path
    skipped: int
    trials: list[Trial] = field(default_factory=list)
    stopped: str | None = None

    @property
    def ok(self) -> bool:
        return self.stopped is None and all(trial.status == "ok" for trial in self.trials)


@contextmanager
def own_server(recipe: Recipe, bundle: Bundle) -> Iterator[Endpoint]:
    """Triton on ``bundle`` for the length of the block."""
    with serve_bundle(recipe, bundle) as running:
        yield Endpoint(running.grpc_url, running.check)


def connect_triton(url: str, model: str) -> AbstractAsyncContextManager[Client]:
    return TritonClient(url, model=model)


def open_target(recipe: Recipe) -> tuple[Bundle, Environment]:
    """The recipe's bundle, read to its last byte, and this machine's fingerprint.

    Raises ``EngineError`` for a target that is not this CPU and ``BundleError`` for a bundle of other settings or other
    bytes than were built: the records name what was measured by the hashes in its manifest.
    """
    if recipe.target.runtime != "cpu":
        raise EngineError(
            f"runtime {recipe.target.runtime} runs on a GPU, and this version records sweeps on a CPU only",
            hint="Type: --dry-run to see the plan, or --set target.runtime=cpu",
        )
    bundle = Bundle.open_for(recipe)
    bundle.check()
    return bundle, fingerprint()


def run_sweep(
    recipe: Recipe,
    *,
    url: str | None = None,
    argv: Sequence[str] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    serve: Serve = own_server,
    connect: Connect = connect_triton,
) -> SweepResult:
    """Measure every point of ``recipe.bench`` that has no ``ok`` trial yet, through the server at ``url`` (host:port).

    Without ``url`` it starts a server and stops it afterwards, if there is anything to measure; a server at ``url``
    must say that it runs the recipe's bundle. A trial that fails is recorded and the sweep goes on, unless no token can
    be generated any more; a trial whose own server dies fails at once. An interrupt leaves the finished trials and
    nothing of the running one. Raises ``BundleError``, ``RecipeError``, ``RecordError``, ``ServerError`` or
    ``ClientError`` before the first trial.
    """
    bundle, environment = open_target(recipe)
    sweep = plan_sweep(recipe, bundle, environment, url)
    with open_sweep(sweep.folder, sweep.record, environment):
        scan = scan_sweep(sweep.folder)
        drawn = _draw(recipe, bundle, sweep.points)
        todo = [(point, prompts) for point, prompts in drawn if not _is_finished(scan, point, prompts)]
        skipped = len(sweep.points) - len(todo)
        on_event(Resumed(sweep.folder, skipped, len(sweep.points), scan.damaged))
        result = SweepResult(sweep.folder, skipped)
        if todo:
            with serve(recipe, bundle) if url is None else nullcontext(unwatched(url)) as endpoint:
                through = ServedBy(url=endpoint.url, started_by_bench=url is None)
                runner = _Runner(sweep, through, endpoint.check, tuple(argv), on_event, result)
                asyncio.run(runner.run(todo, connect))
    return result


def _draw(recipe: Recipe, bundle: Bundle, points: Sequence[Point]) -> list[tuple[Point, Drawn]]:
    bench, limit = recipe.bench, recipe.engine.max_seq_len
    source = open_source(WorkloadSection(), bundle.tokenizer_dir, text=bench.prompts, max_seq_len=limit)
    return [(p, draw(source.at(p.isl, p.osl), p.requests, p.warmup, seed=bench.seed, repeat=p.repeat)) for p in points]


def _is_finished(scan: Scan, point: Point, prompts: Drawn) -> bool:
    trial = scan.finished(point)
    if trial is not None and trial.prompts_sha256 != prompts.sha256:
        raise RecordError(
            "it was measured with other prompts than the recipe gives now",
            where=str(scan.folder / "trials" / trial.trial_id),
            hint="Move the sweep's folder away",
        )
    return trial is not None


@dataclass(frozen=True, slots=True)
class _Runner:
    sweep: Sweep
    through: ServedBy
    check: Callable[[], None]
    argv: tuple[str, ...]
    on_event: Callable[[Event], None]
    result: SweepResult

    async def run(self, todo: Sequence[tuple[Point, Drawn]], connect: Connect) -> None:
        async with connect(self.through.url, self.sweep.recipe.serve.model_name) as client:
            if not self.through.started_by_bench:
                await self._check_served(client)
            await client.probe()
            for number, (point, prompts) in enumerate(todo, self.result.skipped + 1):
                self.on_event(Started(number, len(self.sweep.points), point))
                trial = await self._trial(client, point, prompts)
                self.result.trials.append(trial)
                self.on_event(Finished(trial))
                if trial.status == "failed" and self.result.stopped is None:
                    self.result.stopped = await self._broken(client)
                if self.result.stopped is not None:
                    return

    async def _check_served(self, client: Client) -> None:
        """The records will say that the recipe's bundle was measured."""
        served = (await client.parameters()).get("identity")
        if served == self.sweep.bundle.manifest["identity"]:
            return
        what = "the server runs another bundle than the recipe's"
        if served is None:
            what = "the server does not say which bundle it runs"
        raise RecordError(what, where=self.through.url, hint="Type: trtkit serve RECIPE, with the same --set")

    async def _trial(self, client: Client, point: Point, prompts: Drawn) -> Trial:
        load_average, started_at = os.getloadavg()[0], utc_now()
        work = run_load(client, prompts.measured, prompts.warmup, ClosedLoop(point.concurrency), self._on_request)
        try:
            load = await while_alive(work, self.check)
        except ServerError as error:
            self.result.stopped = str(error)
            # not the whole text: it names the log's folder
            load = Load((), error.what)
        requests = pack_requests(load.requests)
        trial = self._record(point, prompts, load, requests, load_average, started_at)
        write_trial(self.sweep.folder, trial, requests)
        return trial

    def _on_request(self, count: int) -> None:
        self.on_event(Answered(count))

    def _record(
        self, point: Point, prompts: Drawn, load: Load, requests: bytes, load_average: float, started_at: str
    ) -> Trial:
        checks = check_trial(point, load.requests)
        status = status_of(load.error, checks)
        return Trial(
            sweep_id=self.sweep.record.sweep_id,
            point_id=point.point_id,
            point=point,
            attempt=next_attempt(self.sweep.folder, point),
            status=status,
            error=load.error,
            hardware=self.sweep.record.hardware,
            env_id=self.sweep.environment.env_id,
            server=self.through,
            load_average_1m=load_average,
            argv=portable_argv(self.argv),
            recipe=portable_recipe(self.sweep.recipe),
            prompts_sha256=prompts.sha256,
            started_at=started_at,
            ended_at=utc_now(),
            checks=checks,
            metrics=compute_metrics(load.requests) if status == "ok" else None,
            requests_sha256=hashlib.sha256(requests).hexdigest(),
        )

    async def _broken(self, client: Client) -> str | None:
        """Why no token can be generated, None if one can."""
        try:
            await while_alive(client.probe(), self.check)
        except (ClientError, ServerError) as error:
            return str(error)
        return None
