"""Carry out a ``Plan``: source checkpoint → verified engine bundle.

A bundle grows in a folder beside the output (``Places``). Each shard is written beside its name and renamed, then noted
in a journal, so that a killed build goes on with the first unfinished shard; shards of an earlier bundle that would
come out the same are linked in. A verification pass reads everything back; only then is the manifest written and the
folder renamed to its name.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from toolkit.checkpoint.files import copy_atomic, sha256_file, sync_folder, write_atomic
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.bundle import (
    CHECKPOINT,
    LLM_ARGS,
    MANIFEST,
    RECIPE,
    SCHEMA_VERSION,
    Bundle,
    files_in,
    read_manifest,
)
from toolkit.engine.identity import Identity, origin
from toolkit.engine.lock import locked
from toolkit.engine.places import Places
from toolkit.engine.shards import verify_shard, write_shard
from toolkit.engine.versions import versions
from toolkit.errors import BundleError, PlanError
from toolkit.plan.source import refuse_refused
from toolkit.plan.types import Plan, ShardPlan
from toolkit.recipe import Recipe

JOURNAL = "build.json"
BUILT = {"keep", "dequantize", "drop"}
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What ``build`` did. ``made`` is False when the bundle was there already; ``reused`` counts shards not written."""

    bundle: Bundle
    made: bool
    reused: int = 0


def check_buildable(plan: Plan) -> None:
    """Raises ``PlanError`` for a refused plan, and for one with an action that ``build`` does not carry out."""
    refuse_refused(plan)
    if unbuilt := sorted(set(plan.counts()) - BUILT):
        what = f"the plan asks to {', '.join(unbuilt)} tensors, which trtkit plans but does not build yet"
        hint = "Type: trtkit plan, and choose a target that needs only BF16 attention"
        raise PlanError(what, where="target", hint=hint)


def build(recipe: Recipe, plan: Plan, source: Checkpoint, progress: Progress = lambda done, total: None) -> Built:
    """Build ``recipe.engine.output`` from ``source`` as planned.

    ``progress`` gets bytes done and in all (written, then verified). Raises ``PlanError`` for a refused plan,
    ``CheckpointError`` for a damaged source, ``BundleError`` when the output is something else, another build is at
    work there, or the disk says no; an unfinished build is kept for the next call.
    """
    check_buildable(plan)
    if plan.predicted:
        raise PlanError("the plan is a prediction, not read from headers", hint="Download the checkpoint first")
    places = Places.of(recipe.engine.output)
    tokenizer = recipe.checkpoint.tokenizer
    try:
        places.check((source.folder, *([tokenizer] if tokenizer else [])))
        places.output.parent.mkdir(parents=True, exist_ok=True)
        with locked(places.lock):
            return _Build(recipe, plan, source, places, progress).run()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        needs = f"The bundle needs {plan.output_bytes:,} bytes there; make room and build again"
        raise BundleError(
            f"cannot build: {error.strerror}",
            where=str(places.output),
            hint=needs if full else "Set engine.output to a folder that you can write",
        ) from None


class _Build:
    """One run; its folders, finished shards and byte count."""

    def __init__(self, recipe: Recipe, plan: Plan, source: Checkpoint, places: Places, progress: Progress) -> None:
        self.recipe, self.plan, self.source, self.places, self.progress = recipe, plan, source, places, progress
        self.identity = Identity.of(recipe, plan, source)
        self.finished: set[str] = set()
        self.done_bytes = 0

    def run(self) -> Built:
        self._recover()
        if (present := self._whole(self.places.output)) is not None:
            return Built(present, made=False)
        if self._whole(self.places.partial) is None:
            self._make()
        else:
            self.finished = {shard.file for shard in self.plan.shards}
        reused = len(self.finished)
        self._swap()
        return Built(Bundle.open(self.places.output), made=True, reused=reused)

    def _make(self) -> None:
        self._resume()
        written = {shard.file for shard in self.plan.shards} - self.finished
        for shard in self.plan.shards:
            if shard.file in written:
                self._write(shard)
            else:
                self._advance(shard.nbytes)
        self._write_small_files()
        digests = {f"{CHECKPOINT}/{shard.file}": self._verified(shard) for shard in self.plan.shards}
        self._write_manifest(digests)
        self.finished -= written
        Bundle.open(self.places.partial)

    def _advance(self, count: int) -> None:
        self.done_bytes += count
        self.progress(self.done_bytes, 2 * self.plan.output_bytes)

    def _recover(self) -> None:
        """Finish or undo a swap that a crash cut in two."""
        output, partial, old = self.places.output, self.places.partial, self.places.old
        if old.exists() and not output.exists():
            (partial if self._whole(partial) is not None else old).rename(output)
        remove(old)

    def _whole(self, folder: Path) -> Bundle | None:
        """The finished bundle in ``folder``, if it is the one to be built."""
        try:
            bundle = Bundle.open(folder)
        except BundleError:
            return None
        return bundle if bundle.manifest["identity"] == self.identity.whole else None

    def _resume(self) -> None:
        """Keep the shards that an earlier run of the same weights finished, else take them from the old bundle."""
        self.finished = self._journalled()
        if not self.finished:
            remove(self.places.partial)
        self.places.checkpoint.mkdir(parents=True, exist_ok=True)
        self._note()
        wanted = {f"{CHECKPOINT}/{name}" for name in self.finished} | {JOURNAL}
        for name in files_in(self.places.partial) - wanted:
            (self.places.partial / name).unlink()
        if not self.finished:
            self._link_old_shards()

    def _journalled(self) -> set[str]:
        try:
            state = json.loads((self.places.partial / JOURNAL).read_bytes())
            same, names = state["weights"] == self.identity.weights, state["finished"]
            return {str(name) for name in names if same and (self.places.checkpoint / name).is_file()}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return set()

    def _link_old_shards(self) -> None:
        output = self.places.output
        try:
            if read_manifest(output)["weights"] != self.identity.weights:
                return
            for shard in self.plan.shards:
                os.link(output / CHECKPOINT / shard.file, self.places.checkpoint / shard.file)
                self.finished.add(shard.file)
        except (BundleError, OSError):
            # no bundle, a shard missing, or a file system without links: what is not finished is written
            return

    def _write(self, shard: ShardPlan) -> None:
        write_shard(shard, self.source, self.places.checkpoint / shard.file, self._advance)
        self.finished.add(shard.file)
        self._note()

    def _note(self) -> None:
        state = {"weights": self.identity.weights, "finished": sorted(self.finished)}
        write_atomic(self.places.partial / JOURNAL, json.dumps(state).encode())

    def _verified(self, shard: ShardPlan) -> str:
        """The shard's SHA-256. One that fails is written once more: it may come from an interrupted run."""
        target, before = self.places.checkpoint / shard.file, self.done_bytes
        try:
            return verify_shard(shard, self.source, target, self._advance)
        except BundleError:
            target.unlink(missing_ok=True)
            self.finished.discard(shard.file)
            write_shard(shard, self.source, target, lambda _: None)
            self.done_bytes = before
            return verify_shard(shard, self.source, target, self._advance)

    def _write_small_files(self) -> None:
        folder = self.places.checkpoint
        for copy in self.plan.copies:
            copy_atomic(origin(copy, self.recipe, self.source), folder / copy.file)
        for name, value in self.plan.json_files.items():
            write_atomic(folder / name, json_bytes(value))
        write_atomic(self.places.partial / RECIPE, self.recipe.absolute().to_yaml().encode())
        if self.plan.llm_args is not None:
            text = yaml.safe_dump(dict(self.plan.llm_args), sort_keys=False)
            write_atomic(self.places.partial / LLM_ARGS, text.encode())

    def _write_manifest(self, digests: dict[str, str]) -> None:
        files = {}
        for name in sorted(self._planned_files()):
            path = self.places.partial / name
            files[name] = {"size": path.stat().st_size, "sha256": digests.get(name) or sha256_file(path)}
        sources = {name: sha256_file(self.source.path(name)) for name in self.source.shards}
        kept = [shard.file for shard in self.plan.shards if shard.unchanged]
        if Identity.of(self.recipe, self.plan, self.source) != self.identity or any(
            digests[f"{CHECKPOINT}/{name}"] != sources[name] for name in kept
        ):
            raise BundleError("the source changed while it was read", where=str(self.source.folder), hint="Build again")
        small = {copy.file: sha256_file(origin(copy, self.recipe, self.source)) for copy in self.plan.copies}
        rewritten = {name: self.source.path(name) for name in self.plan.json_files}
        small |= {name: sha256_file(path) for name, path in rewritten.items() if path.is_file()}
        write_atomic(self.places.partial / MANIFEST, json_bytes(self._manifest(files, {**sources, **small})))

    def _planned_files(self) -> set[str]:
        names = {shard.file for shard in self.plan.shards} | {copy.file for copy in self.plan.copies}
        names |= set(self.plan.json_files)
        top = {RECIPE} | ({LLM_ARGS} if self.plan.llm_args is not None else set())
        return {f"{CHECKPOINT}/{name}" for name in names} | top

    def _manifest(self, files: dict[str, dict[str, Any]], sources: dict[str, str]) -> dict[str, Any]:
        plan, checkpoint = self.plan, self.recipe.checkpoint
        return {
            "schema_version": SCHEMA_VERSION,
            "identity": self.identity.whole,
            "weights": self.identity.weights,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "name": self.recipe.name,
            "target": plan.target,
            "verdict": plan.verdict,
            "plan_sha256": plan.digest,
            "reasons": plan.reasons,
            "actions": [
                {"kind": a.kind, "inputs": a.inputs, "output": a.output, "reason": a.reason} for a in plan.actions
            ],
            "source": {
                "repo": checkpoint.repo,
                "revision": checkpoint.revision,
                "files": {name: {"sha256": digest} for name, digest in sorted(sources.items())},
            },
            "files": files,
            "verified": plan.counts(),
            "versions": versions(),
        }

    def _swap(self) -> None:
        """Put the new bundle in place; an old one stays readable until then and goes afterwards."""
        output, partial, old = self.places.output, self.places.partial, self.places.old
        (partial / JOURNAL).unlink(missing_ok=True)
        if output.exists():
            output.rename(old)
        partial.rename(output)
        sync_folder(output.parent)
        remove(old)


def remove(folder: Path) -> None:
    """Remove a folder that only builds use, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def json_bytes(value: Any) -> bytes:
    """JSON as the bundle holds it."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
