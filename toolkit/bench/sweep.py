"""A sweep before anything is measured: its points, its identity and its folder."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolkit.bench.canonical import digest
from toolkit.bench.environment import Environment
from toolkit.bench.grid import Point, plan_recipe
from toolkit.bench.records import OWN_SERVER, SweepPlan, SweepRecord
from toolkit.checkpoint.files import sha256_file
from toolkit.engine.bundle import Bundle
from toolkit.errors import RecipeError
from toolkit.recipe import Recipe

# Places, not conditions: moving files or ports does not make it another sweep.
PLACES: dict[str, Any] = {
    "checkpoint": True,
    "engine": {"output"},
    "serve": {"repository", "host", "grpc_port", "http_port", "metrics_port"},
    "bench": {"output", "prompts"},
}


@dataclass(frozen=True, slots=True)
class Sweep:
    recipe: Recipe
    bundle: Bundle
    environment: Environment
    points: tuple[Point, ...]
    record: SweepRecord

    @property
    def folder(self) -> Path:
        return self.recipe.bench.output / self.record.title


def plan_sweep(recipe: Recipe, bundle: Bundle, environment: Environment, url: str | None) -> Sweep:
    """The sweep of ``recipe`` on its ``bundle``, through the server at ``url`` or one that the bench starts.

    Its id is a hash of everything that a measurement depends on: the recipe without its places, the bytes of bundle
    and prompts, the environment, the server and the points in their order. So the same sweep finds its folder again
    and a changed one gets another. Raises ``RecipeError`` for a point that the engine cannot hold.
    """
    points = plan_recipe(recipe)
    prompts = recipe.bench.prompts
    plan = SweepPlan(
        recipe=recipe.model_dump(mode="json", exclude=PLACES),
        bundle=_contents(bundle),
        prompts_sha256=None if prompts is None else _sha256(prompts),
        environment=environment.env_id,
        server=_server(url),
        points=points,
    )
    sweep_id = digest(plan.model_dump(mode="json"), 8)
    record = SweepRecord(sweep_id=sweep_id, name=recipe.name, hardware=environment.identity.hardware, plan=plan)
    return Sweep(recipe, bundle, environment, points, record)


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
