"""Carry out a ``Plan``: source checkpoint → verified engine bundle.

Work happens in ``<output>.partial`` beside the output. Each shard is written beside its name and renamed, then noted in
a journal, so that a killed build continues with the first unfinished shard. A verification pass reads everything back;
only then is the manifest written and the folder renamed to its name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from toolkit.checkpoint.files import copy_atomic, sha256_file, sync_folder, write_atomic
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.bundle import CHECKPOINT, LLM_ARGS, MANIFEST, RECIPE, SCHEMA_VERSION, Bundle, read_manifest
from toolkit.engine.lock import locked
from toolkit.engine.shards import verify_shard, write_shard
from toolkit.engine.versions import versions
from toolkit.errors import BundleError, PlanError
from toolkit.plan.types import Plan
from toolkit.recipe import Recipe

JOURNAL = "build.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What ``build`` did. ``made`` is False when the bundle was there already; ``resumed`` counts shards kept."""

    bundle: Bundle
    made: bool
    resumed: int = 0


def build(recipe: Recipe, plan: Plan, source: Checkpoint, progress: Progress = lambda done, total: None) -> Built:
    """Build ``recipe.engine.output`` from ``source`` as planned.

    ``progress`` gets bytes done and in all (written, then verified). Raises ``PlanError`` for a refused plan,
    ``BundleError`` when the output folder is something else or another build is at work there.
    """
    if plan.refusals:
        raise PlanError(plan.refusals[0].what, where="target", hint=plan.refusals[0].way_out)
    if plan.predicted:
        raise PlanError("the plan is a prediction, not read from headers", hint="Download the checkpoint first")
    output = recipe.engine.output
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        return _Build(recipe, plan, source, progress).run()


class _Build:
    """One run; its folders, journal and byte count."""

    def __init__(self, recipe: Recipe, plan: Plan, source: Checkpoint, progress: Progress) -> None:
        self.recipe, self.plan, self.source, self.progress = recipe, plan, source, progress
        self.output = recipe.engine.output
        self.partial = self.output.with_name(self.output.name + ".partial")
        self.identity = _identity(recipe, plan, source)
        self.done_bytes = 0

    def run(self) -> Built:
        _recover(self.output)
        if (present := self._present()) is not None:
            return Built(present, made=False)
        finished = self._resume()
        (self.partial / CHECKPOINT).mkdir(parents=True, exist_ok=True)
        for shard in self.plan.shards:
            if shard.file in finished:
                self._advance(shard.nbytes)
                continue
            write_shard(shard, self.source, self.partial / CHECKPOINT / shard.file, self._advance)
            self._note({*finished, shard.file})
            finished.add(shard.file)
        self._write_small_files()
        self._write_manifest(self._verify())
        (self.partial / JOURNAL).unlink(missing_ok=True)
        _swap(self.partial, self.output)
        return Built(Bundle.open(self.output), made=True, resumed=self.resumed)

    def _advance(self, count: int) -> None:
        self.done_bytes += count
        self.progress(self.done_bytes, 2 * self.plan.output_bytes)

    def _present(self) -> Bundle | None:
        """The finished bundle, if it is this one already."""
        if not self.output.exists():
            return None
        if not (self.output / MANIFEST).is_file():
            if self.output.is_dir() and not any(self.output.iterdir()):
                return None
            raise BundleError(
                "the folder is not an engine bundle", where=str(self.output), hint="Set engine.output to another folder"
            )
        if read_manifest(self.output)["identity"] != self.identity:
            return None
        try:
            return Bundle.open(self.output)
        except BundleError:
            return None

    def _resume(self) -> set[str]:
        """Shards that an earlier run of the same build finished; anything else in the partial folder goes."""
        self.resumed = 0
        journal = self.partial / JOURNAL
        if journal.is_file():
            state = json.loads(journal.read_bytes())
            if state["identity"] == self.identity:
                finished = {name for name in state["finished"] if (self.partial / CHECKPOINT / name).is_file()}
                self.resumed = len(finished)
                return finished
        if self.partial.exists():
            shutil.rmtree(self.partial)
        return set()

    def _note(self, finished: set[str]) -> None:
        state = {"identity": self.identity, "finished": sorted(finished)}
        write_atomic(self.partial / JOURNAL, json.dumps(state).encode())

    def _write_small_files(self) -> None:
        folder = self.partial / CHECKPOINT
        for copy in self.plan.copies:
            origin = self.recipe.checkpoint.tokenizer if copy.origin == "tokenizer" else self.source.folder
            assert origin is not None
            copy_atomic(origin / copy.file, folder / copy.file)
        for name, value in self.plan.json_files.items():
            write_atomic(folder / name, json_bytes(value))
        write_atomic(self.partial / RECIPE, self.recipe.absolute().to_yaml().encode())
        if self.plan.llm_args is not None:
            write_atomic(self.partial / LLM_ARGS, yaml.safe_dump(dict(self.plan.llm_args), sort_keys=False).encode())

    def _verify(self) -> dict[str, dict[str, Any]]:
        """Every file of the bundle with size and SHA-256, each shard compared with the source on the way."""
        files: dict[str, dict[str, Any]] = {}
        digests = {
            f"{CHECKPOINT}/{shard.file}": verify_shard(
                shard, self.source, self.partial / CHECKPOINT / shard.file, self._advance
            )
            for shard in self.plan.shards
        }
        for path in sorted(self.partial.rglob("*")):
            name = path.relative_to(self.partial).as_posix()
            if path.is_dir() or name in (JOURNAL, MANIFEST):
                continue
            files[name] = {"size": path.stat().st_size, "sha256": digests.get(name) or sha256_file(path)}
        return files

    def _write_manifest(self, files: dict[str, dict[str, Any]]) -> None:
        sources = (*self.source.shards, "config.json")
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "identity": self.identity,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "name": self.recipe.name,
            "target": self.plan.target,
            "verdict": self.plan.verdict,
            "plan_sha256": self.plan.digest,
            "reasons": self.plan.reasons,
            "actions": [
                {"kind": a.kind, "inputs": a.inputs, "output": a.output, "reason": a.reason} for a in self.plan.actions
            ],
            "source": {
                "repo": self.recipe.checkpoint.repo,
                "revision": self.recipe.checkpoint.revision,
                "files": {name: {"sha256": sha256_file(self.source.path(name))} for name in sources},
            },
            "files": files,
            "verified": self.plan.counts(),
            "versions": versions(),
        }
        write_atomic(self.partial / MANIFEST, json_bytes(manifest))


def json_bytes(value: Any) -> bytes:
    """JSON as the bundle holds it."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _identity(recipe: Recipe, plan: Plan, source: Checkpoint) -> str:
    """What a bundle is made of: the plan, the engine limits, and the source files by size and time."""
    stats = {name: source.path(name).stat() for name in (*source.shards, "config.json")}
    parts = {
        "plan": plan.digest,
        "engine": recipe.engine.model_dump(mode="json", exclude={"output"}),
        "source": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _swap(partial: Path, output: Path) -> None:
    """Put the new bundle in place; an old one stays readable until then and goes afterwards."""
    old = output.with_name(output.name + ".old")
    if output.exists():
        output.rename(old)
    partial.rename(output)
    sync_folder(output.parent)
    if old.exists():
        shutil.rmtree(old)


def _recover(output: Path) -> None:
    """Finish or undo a swap that a crash cut in two."""
    old = output.with_name(output.name + ".old")
    if old.exists():
        if output.exists():
            shutil.rmtree(old)
        else:
            old.rename(output)
