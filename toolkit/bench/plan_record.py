"""The record of a sweep's plan: schema 2, and schema 1 read as if it were."""

from __future__ import annotations

from typing import Any, Literal

from toolkit.bench.grid import Point
from toolkit.bench.trial import Record
from toolkit.recipe import DEFAULT, RunnerKind

OWN_SERVER = "on this machine"


class VariantPlan(Record):
    """What is measured under one name: its resolved recipe, without places, and the SHA-256 of each file that its
    runtime loads. ``gpus`` is 1 for a CPU."""

    name: str
    recipe: dict[str, Any]
    bundle: dict[str, str]
    gpus: int


class SweepPlan(Record):
    """Everything that a sweep's measurements depend on.

    ``environment`` is an env id. ``points`` are those that may be measured: all of them and their repeats on a
    ``grid``, each once where the strategy chooses. ``server`` is ``OWN_SERVER`` for one on this machine, which the
    environment describes, or for none; else its host.
    """

    runner: RunnerKind
    strategy: Literal["grid", "ladder", "frontier"]
    slo: dict[str, float]
    repeats: int
    variants: tuple[VariantPlan, ...]
    prompts_sha256: str | None
    workload: dict[str, Any]
    trace_sha256: str | None
    environment: str
    server: str
    points: tuple[Point, ...]


class SweepRecord(Record):
    """A plan and the id that is hashed from it."""

    schema_version: Literal[2] = 2
    sweep_id: str
    name: str
    hardware: str
    plan: SweepPlan

    @property
    def title(self) -> str:
        """Name of the sweep's folder."""
        return f"{self.name}-{self.sweep_id}"


def upgrade_sweep(document: dict[str, Any]) -> dict[str, Any]:
    """A sweep of schema 1 as one of schema 2: a grid of one variant, through Triton."""
    old = document["plan"]
    plan = {key: value for key, value in old.items() if key not in ("recipe", "bundle")}
    variant = {"name": DEFAULT, "recipe": old.get("recipe"), "bundle": old.get("bundle"), "gpus": 1}
    plan |= {
        "runner": "triton",
        "strategy": "grid",
        "slo": {},
        "workload": {"kind": "fixed", "ratio": None, "stdev": None},
        "trace_sha256": None,
        "repeats": max((point.get("repeat", 1) for point in old.get("points", [])), default=1),
        "variants": (variant,),
    }
    return document | {"schema_version": 2, "plan": plan}
