"""``engine.json``: what a bundle holds and what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit.checkpoint.files import sha256_file
from toolkit.engine.bundle import CHECKPOINT, LLM_ARGS, RECIPE, SCHEMA_VERSION, sealed
from toolkit.engine.compiled import LOG, TIMING_CACHE, EngineCommand, outputs
from toolkit.engine.identity import Identity, origin
from toolkit.engine.journal import Done, Journal, measured_of
from toolkit.engine.reader import Sources
from toolkit.engine.versions import versions
from toolkit.plan.measure import Measured, Measurement
from toolkit.plan.types import Plan
from toolkit.recipe import Recipe


def manifest_of(
    recipe: Recipe, plan: Plan, sources: Sources, identity: Identity, journal: Journal, folder: Path
) -> dict[str, Any]:
    """The manifest of the bundle in ``folder``, every other file of which is there and every shard in ``journal``."""
    checkpoint = recipe.checkpoint
    command = EngineCommand.of(plan, recipe.engine.output)
    names = planned_files(plan) | (set(outputs(folder)) if command else set())
    content = {
        "schema_version": SCHEMA_VERSION,
        "identity": identity.whole,
        "weights": identity.weights,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": recipe.name,
        "target": plan.target,
        "verdict": plan.verdict,
        "plan_sha256": plan.digest,
        "reasons": plan.reasons,
        "actions": [{"kind": a.kind, "inputs": a.inputs, "output": a.output, "reason": a.reason} for a in plan.actions],
        "source": {
            "repo": checkpoint.repo,
            "revision": checkpoint.revision,
            "files": {name: {"sha256": digest} for name, digest in sorted(_sources(recipe, plan, sources, journal))},
        },
        "files": _files(folder, names, journal.shards),
        "verified": plan.counts(),
        "fidelity": _fidelity(plan, journal).to_dict(),
        "versions": versions(),
    }
    if sources.borrowed:
        content["borrowed"] = {
            name: {file: {"size": reader.file(file).size} for file in reader.checkpoint.shards}
            for name, reader in sources.borrowed.items()
        }
    if command:
        content["engine"] = _engine(command, folder)
    return sealed(content)


def planned_files(plan: Plan) -> set[str]:
    """Names in the bundle that follow from the plan."""
    names = {shard.file for shard in plan.shards} | {copy.file for copy in plan.copies} | set(plan.json_files)
    top = {RECIPE} | ({LLM_ARGS} if plan.llm_args is not None else set())
    return {f"{CHECKPOINT}/{name}" for name in names} | top


def _files(folder: Path, names: set[str], shards: Mapping[str, Done]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256; of a shard as it was verified, with the time of its last change."""
    files: dict[str, dict[str, Any]] = {}
    for name in sorted(names):
        stat = (folder / name).stat()
        done = shards.get(name.removeprefix(f"{CHECKPOINT}/"))
        files[name] = {"size": stat.st_size, "sha256": done.sha256 if done else sha256_file(folder / name)}
        if done:
            files[name]["mtime_ns"] = stat.st_mtime_ns
    return files


def _sources(recipe: Recipe, plan: Plan, sources: Sources, journal: Journal) -> list[tuple[str, str]]:
    """Every source file and its SHA-256."""
    source = sources.main.checkpoint
    small = {copy.file: sha256_file(origin(copy, recipe, source)) for copy in plan.copies}
    rewritten = {name: source.path(name) for name in plan.json_files}
    small |= {name: sha256_file(path) for name, path in rewritten.items() if path.is_file()}
    return list({**journal.sources, **small}.items())


def _fidelity(plan: Plan, journal: Journal) -> Measurement:
    """What changes of format lost, in the plan's order; of a tensor whose outputs lie in two shards once."""
    entries: dict[str, Measured] = {}
    for shard in plan.shards:
        for measured in map(measured_of, journal.shards[shard.file].fidelity):
            entries.setdefault(measured.tensor, measured)
    return Measurement(tuple(entries.values()))


def _engine(command: EngineCommand, folder: Path) -> dict[str, Any]:
    made = outputs(folder)
    return {
        "compiled": bool(made),
        "command": command.shell,
        "log": LOG if LOG in made else None,
        "timing_cache": TIMING_CACHE if TIMING_CACHE in made else None,
    }
