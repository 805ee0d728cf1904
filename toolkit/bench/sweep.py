"""A sweep before anything is measured: its variants, its points, its identity and its folder."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from toolkit.bench.canonical import digest
from toolkit.bench.environment import Environment
from toolkit.bench.grid import Point, plan_recipe, shuffled
from toolkit.bench.plan_record import OWN_SERVER, SweepPlan, SweepRecord, VariantPlan
from toolkit.bench.runners.protocol import Variant
from toolkit.bench.strategy import LEAST_FOR_FRONTIER, WINNER_REPEATS
from toolkit.checkpoint.files import sha256_file
from toolkit.engine.bundle import Bundle
from toolkit.errors import RecipeError
from toolkit.recipe import BenchSection, Recipe

# Places and what a sweep may cost, not conditions: changing them does not make it another sweep.
PLACES: dict[str, Any] = {
    "checkpoint": True,
    "engine": {"output"},
    "serve": {"repository", "host", "grpc_port", "http_port", "metrics_port"},
    "bench": {"output", "prompts", "budget", "variants", "strategy", "repeats", "slo", "workload"},
}
"""What a bench section says of strategy, repeats, slo and workload is in the plan as it was resolved."""


@dataclass(frozen=True, slots=True)
class Sweep:
    recipe: Recipe
    variants: Mapping[str, Variant]
    environment: Environment
    record: SweepRecord

    @property
    def plan(self) -> SweepPlan:
        return self.record.plan

    @property
    def folder(self) -> Path:
        return self.recipe.bench.output / self.record.title


@dataclass(frozen=True, slots=True)
class Outline:
    """What a recipe alone says of its sweep. ``points`` has every repeat on a grid, else each point once, in the order
    in which they are tried where there is a choice."""

    variants: Mapping[str, Recipe]
    strategy: Literal["grid", "ladder", "frontier"]
    repeats: int
    points: tuple[Point, ...]


def outline(recipe: Recipe) -> Outline:
    """Raises ``RecipeError`` for variants that contradict each other and for a point that an engine cannot hold."""
    bench = recipe.bench
    variants, points = plan_recipe(recipe)
    strategy = _strategy(bench, points)
    repeats = bench.repeats or (1 if strategy == "grid" else WINNER_REPEATS)
    if strategy == "grid":
        points = tuple(replace(point, repeat=repeat) for point in points for repeat in range(1, repeats + 1))
    return Outline(variants, strategy, repeats, shuffled(points, bench.seed, rounds=bench.order == "rounds"))


def _strategy(bench: BenchSection, points: Sequence[Point]) -> Literal["grid", "ladder", "frontier"]:
    if bench.arrival.kind != "closed" and bench.strategy not in ("auto", "grid"):
        what = f"strategy {bench.strategy} climbs concurrencies, and an open loop has none"
        raise RecipeError(what, where="bench.strategy", hint="Type: --set bench.strategy=grid")
    if bench.strategy != "auto":
        return bench.strategy
    if bench.arrival.kind != "closed":
        return "grid"
    most = max(Counter((point.isl, point.osl) for point in points).values())
    return "frontier" if most >= LEAST_FOR_FRONTIER else "grid"


def plan_sweep(
    recipe: Recipe, bundles: Mapping[str, Bundle], environment: Environment, url: str | None = None
) -> Sweep:
    """The sweep of ``recipe`` on the ``bundles`` of its variants, through the server at ``url`` or one of its own.

    Its id is a hash of everything that a measurement depends on: the recipes without their places, the bytes of bundles
    and prompts, the environment, the server and the points in their order. So the same sweep finds its folder again
    and a changed one gets another. Raises ``RecipeError`` as ``outline`` does.
    """
    planned = outline(recipe)
    prompts, workload = recipe.bench.prompts, recipe.bench.workload
    plan = SweepPlan(
        runner=recipe.bench.runner,
        strategy=planned.strategy,
        slo=recipe.bench.slo.limits,
        repeats=planned.repeats,
        variants=tuple(_variant(name, one, bundles[name]) for name, one in planned.variants.items()),
        prompts_sha256=None if prompts is None else _sha256(prompts),
        workload=workload.model_dump(mode="json", exclude={"trace"}),
        trace_sha256=None if workload.trace is None else _sha256(workload.trace),
        environment=environment.env_id,
        server=_server(url),
        points=planned.points,
    )
    sweep_id = digest(plan.model_dump(mode="json"), 8)
    record = SweepRecord(sweep_id=sweep_id, name=recipe.name, hardware=environment.identity.hardware, plan=plan)
    variants = {name: Variant(name, one, bundles[name]) for name, one in planned.variants.items()}
    return Sweep(recipe, variants, environment, record)


def gpus_of(recipe: Recipe) -> int:
    """How many GPUs the recipe takes; a CPU counts as one."""
    return recipe.target.parallel.tp * recipe.target.parallel.pp if recipe.target.runtime == "tensorrt-llm" else 1


def _variant(name: str, recipe: Recipe, bundle: Bundle) -> VariantPlan:
    values = recipe.model_dump(mode="json", exclude=PLACES)
    return VariantPlan(name=name, recipe=values, bundle=_contents(bundle), gpus=gpus_of(recipe))


def _server(url: str | None) -> str:
    """A running server on this machine counts as the bench's own; of another only the host counts, not the port."""
    if url is None:
        return OWN_SERVER
    try:
        host = urlsplit(f"//{url}").hostname or url
    except ValueError:
        host = url
    return OWN_SERVER if _is_loopback(host) else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _contents(bundle: Bundle) -> dict[str, str]:
    """SHA-256 of each file that the runtime loads, by name."""
    files = bundle.manifest["files"]
    return {name: files[name]["sha256"] for name in sorted(files) if name.startswith("checkpoint/")}


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise RecipeError(f"cannot read the prompts: {error.strerror}", where=str(path)) from None
