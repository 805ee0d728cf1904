"""A small recipe with its bundle, a client that answers without a server, and made-up records.

No number in here was measured: the records exist to be read, counted and drawn.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer, models, pre_tokenizers

from toolkit.bench.canonical import digest
from toolkit.bench.checks import check_trial
from toolkit.bench.environment import Context, Environment, Identity
from toolkit.bench.evidence import pack_requests
from toolkit.bench.grid import Point
from toolkit.bench.metrics import compute_metrics
from toolkit.bench.plan_record import OWN_SERVER, SweepPlan, SweepRecord, VariantPlan
from toolkit.bench.records import digests, open_sweep, write_trial
from toolkit.bench.request import RequestRecord
from toolkit.bench.trial import REQUESTS_FILE, ServedBy, Trial
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import ClientError, UnavailableError
from toolkit.recipe import DEFAULT, Recipe, load, variants_of
from toolkit.serving.client import Chunk, Deadlines

WORDS = [f"w{number}" for number in range(40)]
MS = 1_000_000
IDENTITY = "2" * 64
"""Of the small recipe's bundle."""


def small_recipe(tmp_path: Path, overrides: Sequence[str] = (), **files: bytes) -> Recipe:
    """Two points of four requests each, and a bundle for each variant that was built from its settings; ``files`` are
    further ones of a bundle, with __ for the point of their names."""
    words = tmp_path / "prompts.txt"
    words.write_text(" ".join(WORDS[(7 * number) % len(WORDS)] for number in range(500)))
    path = tmp_path / "recipe.yaml"
    path.write_text(f"""\
name: small
checkpoint: {{path: nvfp4}}
target: {{runtime: cpu}}
engine: {{output: {tmp_path}/bundle, max_seq_len: 64}}
serve: {{repository: {tmp_path}/triton}}
bench:
  {{output: {tmp_path}/results, isl: [4], osl: [3], concurrency: [1, 2], requests: 4, warmup: 1, prompts: prompts.txt}}
""")
    recipe = load(path, overrides)
    for variant in variants_of(recipe).values():
        _write_bundle(variant, {name.replace("__", "."): data for name, data in files.items()})
    return recipe


def _write_bundle(recipe: Recipe, further: Mapping[str, bytes]) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    contents = {
        "checkpoint/tokenizer.json": tokenizer.to_str().encode(),
        "recipe.yaml": recipe.absolute().to_yaml().encode(),
        **further,
    }
    folder = recipe.engine.output
    (folder / "checkpoint").mkdir(parents=True)
    files = {}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"schema_version": 1, "identity": IDENTITY, "weights": "1" * 64, "source": {}, "verified": {}}
    (folder / "engine.json").write_text(json.dumps({**manifest, "files": files}))


class FakeClient:
    """Follows the interface of ``TritonClient``; answers ``max_tokens`` tokens, one a chunk.

    ``fail`` is called with the number of each generation, from 0, before its first token and may raise. The barrier
    holds every generation back until ``together`` of them are in flight. Generations from number ``hang_from`` on never
    send a token, as from a server whose model process is dead.
    """

    def __init__(self, *, together: int = 1, fail: Callable[[int], None] = lambda number: None) -> None:
        self.prompts: list[tuple[int, ...]] = []
        self.sampling: list[SamplingParams] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.closed = 0
        self.alive = True
        self.extra_tokens = 0
        self.served = {"identity": IDENTITY}
        self.hang_from: int | None = None
        self._fail = fail
        self._together = together
        self._barrier: asyncio.Barrier | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def probe(self) -> None:
        if not self.alive:
            raise UnavailableError("nothing is serving")

    async def parameters(self) -> dict[str, str]:
        return self.served

    async def generate(
        self, prompt: Sequence[int], *, sampling: SamplingParams, deadlines: Deadlines
    ) -> AsyncGenerator[Chunk, None]:
        self._barrier = self._barrier or asyncio.Barrier(self._together)
        number = len(self.prompts)
        self.prompts.append(tuple(prompt))
        self.sampling.append(sampling)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._barrier.wait()
            self._fail(number)
            if self.hang_from is not None and number >= self.hang_from:
                await asyncio.Event().wait()
            count = sampling.max_tokens + self.extra_tokens
            for step in range(count):
                await asyncio.sleep(0)
                yield _chunk(len(prompt), step, last=step == count - 1)
        finally:
            self.in_flight -= 1
            self.closed += 1


def _chunk(prompt_tokens: int, step: int, *, last: bool) -> Chunk:
    return Chunk(
        text="",
        token_ids=(step,),
        received_ns=time.monotonic_ns(),
        finish_reason="length" if last else None,
        stop_reason=None,
        prompt_tokens=prompt_tokens,
        output_tokens=step + 1,
    )


def refuse(number: int) -> None:
    raise ClientError(f"generation {number} went wrong")


def made_up_requests(point: Point, *, ttft_ms: int, tpot_ms: int) -> tuple[RequestRecord, ...]:
    """A closed loop in which every request takes the same time."""
    latency = (ttft_ms + tpot_ms * (point.osl - 1)) * MS
    records = []
    for number in range(point.requests):
        start = number // point.concurrency * latency
        first = start + ttft_ms * MS
        tokens = tuple(first + step * tpot_ms * MS for step in range(point.osl))
        records.append(
            RequestRecord(
                id=number, prompt_tokens=point.isl, start_ns=start, token_ns=tokens, end_ns=tokens[-1], status="ok"
            )
        )
    return tuple(records)


def recorded_requests(trial: Path) -> tuple[RequestRecord, ...]:
    """What is in the requests file of the trial's folder."""
    lines = gzip.decompress((trial / REQUESTS_FILE).read_bytes()).splitlines()
    return tuple(RequestRecord.model_validate_json(line) for line in lines)


def made_up_environment(hardware: str) -> Environment:
    identity = Identity(
        hardware=hardware,
        cpu_model="Made-up CPU for tests",
        cpu_cores=2,
        cpu_quota=None,
        memory_gib=8,
        os="Linux x86_64",
        blas="blas 1.0",
        software={"python": "3.11.0", "trtkit": "0.0.0", "tensorrt": None},
        trtkit_source="0123456789ab",
    )
    context = Context(kernel="6.0", hostname_sha256="0" * 12, git_commit=None, first_seen="2025-01-01T00:00:00.000Z")
    return Environment(env_id=digest(identity.model_dump(), 12), identity=identity, context=context)


def made_up_sweep(
    results: Path,
    *,
    name: str = "made-up-test-data",
    hardware: str = "CPU",
    server: str = OWN_SERVER,
    repeats: int = 1,
    variants: Sequence[str] = (DEFAULT,),
    **changes: Any,
) -> tuple[Path, SweepRecord, Environment]:
    """A sweep folder without trials: ISL 4, OSL 3 and 5, concurrency 1 and 2; ``changes`` replace the plan's fields."""
    environment = made_up_environment(hardware)
    points = tuple(
        Point(isl=4, osl=osl, concurrency=users, requests=4, warmup=users, repeat=repeat, variant=variant)
        for variant in variants
        for osl in (3, 5)
        for users in (1, 2)
        for repeat in range(1, repeats + 1)
    )
    fields: dict[str, Any] = {
        "runner": "triton",
        "strategy": "grid",
        "slo": {},
        "repeats": repeats,
        "variants": tuple(made_up_variant(variant, name) for variant in variants),
        "prompts_sha256": None,
        "workload": {"kind": "fixed"},
        "trace_sha256": None,
        "environment": environment.env_id,
        "server": server,
        "points": points,
    }
    plan = SweepPlan(**(fields | changes))
    sweep = SweepRecord(sweep_id=digest(plan.model_dump(mode="json"), 8), name=name, hardware=hardware, plan=plan)
    folder = results / sweep.title
    with open_sweep(folder, sweep, environment):
        pass
    return folder, sweep, environment


def made_up_variant(variant: str, name: str = "made-up-test-data", gpus: int = 1) -> VariantPlan:
    return VariantPlan(
        name=variant,
        recipe={"name": name, "target": {"runtime": "cpu"}, "engine": {"precision": "w4a16", "experts": "dense"}},
        bundle={"checkpoint/model.safetensors": "0" * 64},
        gpus=gpus,
    )


def made_up_trial(sweep: SweepRecord, point: Point, *, ttft_ms: int, tpot_ms: int, **changes: Any) -> Trial:
    """A trial of ``point``; ``changes`` replace fields of the record."""
    requests = made_up_requests(point, ttft_ms=ttft_ms, tpot_ms=tpot_ms)
    fields: dict[str, Any] = {
        "sweep_id": sweep.sweep_id,
        "point_id": point.point_id,
        "point": point,
        "attempt": 1,
        "runner": sweep.plan.runner,
        "why": "made up",
        "status": "ok",
        "error": None,
        "hardware": sweep.hardware,
        "env_id": sweep.plan.environment,
        "server": ServedBy(url="127.0.0.1:1", started_by_bench=sweep.plan.server == OWN_SERVER),
        "load_average_1m": 0.5,
        "argv": ("trtkit", "bench", "run", "made-up.yaml"),
        "command": (),
        "recipe": sweep.plan.variants[0].recipe,
        "prompts_sha256": "0" * 64,
        "started_at": "2025-01-01T00:00:00.000Z",
        "ended_at": "2025-01-01T00:01:00.000Z",
        "duration_s": 60.0,
        "checks": check_trial(point, requests),
        "metrics": compute_metrics(requests),
        "conditions": (),
        "telemetry": None,
        "energy_j": None,
        "evidence": digests({REQUESTS_FILE: pack_requests(requests)}),
    }
    return Trial(**(fields | changes))


def add_trial(folder: Path, sweep: SweepRecord, point: Point, *, ttft_ms: int, tpot_ms: int, **changes: Any) -> Path:
    """Record a made-up trial of ``point``; ``changes`` replace fields of the record."""
    trial = made_up_trial(sweep, point, ttft_ms=ttft_ms, tpot_ms=tpot_ms, **changes)
    packed = pack_requests(made_up_requests(point, ttft_ms=ttft_ms, tpot_ms=tpot_ms))
    return write_trial(folder, trial, {REQUESTS_FILE: packed})


def fill(folder: Path, sweep: SweepRecord) -> None:
    """A made-up trial for every point."""
    for point in sweep.plan.points:
        add_trial(folder, sweep, point, ttft_ms=40 * point.concurrency, tpot_ms=10 + 2 * point.concurrency)
