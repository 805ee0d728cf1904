"""Carry out a ``Plan``: source checkpoint → verified engine bundle.

A bundle grows in a folder beside the output (``Places``). Threads write and hash its shards beside their names; this
thread syncs, renames and notes each in a journal, so that a killed build goes on with the first unfinished shard. A
shard of an earlier bundle that would come out the same is linked in. Sources are hashed meanwhile. The manifest is
written last, and the folder renamed to its name.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from toolkit.checkpoint.files import copy_atomic, sync_folder, write_atomic
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.bundle import CHECKPOINT, LLM_ARGS, MANIFEST, RECIPE, Bundle, files_in, read_manifest
from toolkit.engine.compiled import TIMING_CACHE, EngineCommand
from toolkit.engine.digests import sha256_path
from toolkit.engine.identity import Identity, origin
from toolkit.engine.inputs import check_inputs, check_published, hashed
from toolkit.engine.journal import JOURNAL, Done, Journal
from toolkit.engine.lock import locked
from toolkit.engine.manifest import manifest_of
from toolkit.engine.places import Places
from toolkit.engine.reader import Sources
from toolkit.engine.shards import make_shard, part_of, planned_size, waiting_size
from toolkit.engine.space import check_space
from toolkit.engine.workers import Tick, processors, run_tasks
from toolkit.errors import BundleError, PlanError
from toolkit.plan.source import refuse_refused
from toolkit.plan.types import Plan, ShardPlan
from toolkit.recipe import Recipe

MOST_WORKERS = 8  # each holds a few parts of tensors in memory
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What ``build`` did. ``made`` is False when the bundle was there already; ``reused`` counts shards not written."""

    bundle: Bundle
    made: bool
    reused: int = 0


def build(
    recipe: Recipe,
    plan: Plan,
    source: Checkpoint,
    progress: Progress = lambda done, total: None,
    *,
    workers: int | None = None,
) -> Built:
    """Build ``recipe.engine.output`` from ``source`` as planned.

    ``progress`` gets bytes done and in all (shards written, sources hashed that are not the same), on this thread.
    ``workers`` is the number of threads, by default one for each processor, up to ``MOST_WORKERS``. Raises
    ``PlanError`` for a refused plan, ``CheckpointError`` for a damaged source, ``BundleError`` when the output is
    something else, another build is at work there, the disk is too small or says no, or the source changes meanwhile;
    an unfinished build is kept for the next call.
    """
    refuse_refused(plan)
    if plan.predicted:
        raise PlanError("the plan is a prediction, not read from headers", hint="Download the checkpoint first")
    places = Places.of(recipe.engine.output)
    section = recipe.checkpoint
    try:
        places.check(tuple(p for p in (source.folder, section.tokenizer, section.bf16, section.input_scales) if p))
        places.output.parent.mkdir(parents=True, exist_ok=True)
        origins = {action.origin for action in plan.actions if action.origin is not None}
        with locked(places.lock) as lock, Sources.of(recipe, source, origins) as sources:
            return _Build(
                recipe, plan, sources, places, progress, workers or min(processors(), MOST_WORKERS), lock
            ).run()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        needs = f"The bundle needs {plan.output_bytes:,} bytes there; make room and build again"
        raise BundleError(
            f"cannot build: {error.strerror}",
            where=str(places.output),
            hint=needs if full else "Set engine.output to a folder that you can write",
        ) from None


@dataclass(frozen=True, slots=True)
class _Made:
    """A shard that is whole; ``reused`` where it stands under its name already."""

    file: str
    done: Done
    reused: bool = False


@dataclass(frozen=True, slots=True)
class _Read:
    """A source file that was looked through; ``sha256`` is None where it is known or comes with a shard."""

    file: str
    sha256: str | None


class _Build:
    """One run; its folders, its journal and its byte count."""

    def __init__(
        self,
        recipe: Recipe,
        plan: Plan,
        sources: Sources,
        places: Places,
        progress: Progress,
        workers: int,
        lock: int,
    ) -> None:
        self.recipe, self.plan, self.sources, self.places = recipe, plan, sources, places
        self.progress, self.workers, self.lock = progress, workers, lock
        self.identity = Identity.of(recipe, plan, sources.main.checkpoint)
        self.command = EngineCommand.of(plan, recipe.engine.output)
        self.journal = Journal(weights=self.identity.weights)
        self.sizes = {shard.file: planned_size(shard, sources) for shard in plan.shards}
        self.same = {shard.file for shard in plan.shards if shard.unchanged}
        self.done_bytes = self.total_bytes = self.reused = 0

    def run(self) -> Built:
        self._recover()
        if (present := self._whole(self.places.output)) is not None:
            return Built(present, made=False)
        if self._whole(self.places.partial) is None:
            self._make()
        else:
            self.reused = len(self.plan.shards)
        self._swap()
        return Built(Bundle.open(self.places.output), made=True, reused=self.reused)

    def _make(self) -> None:
        self._resume()
        self._check_space()
        tasks, self.total_bytes = self._tasks()
        run_tasks(tasks, self.workers, self._finished, self._advance)
        self._write_small_files()
        if self.command is not None and self.command.tool is not None:
            self.command.run(self.places.partial, self.places.output / TIMING_CACHE, self.lock)
        self._write_manifest()
        Bundle.open(self.places.partial)

    def _recover(self) -> None:
        """Finish or undo a swap that a crash cut in two."""
        output, partial, old = self.places.output, self.places.partial, self.places.old
        if old.exists() and not output.exists():
            (partial if self._whole(partial) is not None else old).rename(output)
        remove(old)

    def _whole(self, folder: Path) -> Bundle | None:
        """The finished bundle in ``folder``, if it is the one to be built and nobody changed it."""
        try:
            bundle = Bundle.open(folder)
            if bundle.manifest["identity"] != self.identity.whole:
                return None
            bundle.check_files(bundle.touched)
        except BundleError:
            return None
        can_compile = self.command is not None and self.command.tool is not None
        return None if can_compile and not bundle.manifest["engine"]["compiled"] else bundle

    def _resume(self) -> None:
        """Keep the shards that an earlier run of the same weights finished, else take them from the old bundle."""
        partial = self.places.partial
        self.journal = Journal.read(partial, self.identity.weights, self.places.checkpoint)
        if not self.journal.shards:
            remove(partial)
        self.places.checkpoint.mkdir(parents=True, exist_ok=True)
        self.journal.write(partial)
        for name in files_in(partial) - {f"{CHECKPOINT}/{name}" for name in self.journal.shards} - {JOURNAL}:
            (partial / name).unlink()
        if not self.journal.shards:
            self._link_old_shards()

    def _link_old_shards(self) -> None:
        output = self.places.output
        try:
            manifest = read_manifest(output)
            if manifest["weights"] != self.identity.weights:
                return
            for shard in self.plan.shards:
                done = Done.of(shard, manifest)
                os.link(output / CHECKPOINT / shard.file, self.places.checkpoint / shard.file)
                self.journal.shards[shard.file] = done
                if done.source is not None:
                    self.journal.sources[shard.file] = done.source
        except (BundleError, KeyError, OSError):
            # no bundle, a shard missing, or a file system without links: what is not finished is written
            return

    def _check_space(self) -> None:
        missing = [shard for shard in self.plan.shards if shard.file not in self.journal.shards]
        clonable = [self.sources.main.file(shard.file) for shard in missing if shard.unchanged]
        at_once = sorted((waiting_size(shard) for shard in missing if not shard.unchanged), reverse=True)[
            : self.workers
        ]
        needed = sum(self.sizes[shard.file] for shard in missing) + sum(at_once)
        check_space(self.places.partial, needed, clonable)

    def _tasks(self) -> tuple[list[Callable[[Tick], _Made | _Read]], int]:
        """A source file and the shard of its name one after the other; and the bytes that all of them read or write."""
        used: dict[str, dict[str, None]] = {}
        for action in self.plan.actions:
            for name in action.inputs:
                used.setdefault(self.sources.main.info(name).shard, {})[name] = None
        tasks, total = list[Callable[[Tick], _Made | _Read]](), 0
        shards = {shard.file: shard for shard in self.plan.shards}
        originals = self.sources.main.checkpoint.shards
        for name in dict.fromkeys((*originals, *shards)):
            if name in originals:
                tasks.append(partial(self._read, name, tuple(used.get(name, ()))))
                total += 0 if self._is_hashed(name) else self.sources.main.file(name).size
            if name in shards:
                tasks.append(partial(self._shard, shards[name]))
                total += self._cost(name)
        return tasks, total

    def _is_hashed(self, name: str) -> bool:
        """Whether a source file's SHA-256 is known or comes with the shard of its name."""
        return name in self.sizes or name in self.journal.sources

    def _cost(self, name: str) -> int:
        """Bytes of a shard and of the source file that is hashed with it."""
        with_source = name in self.sources.main.checkpoint.shards and name not in self.same
        return self.sizes[name] + (self.sources.main.file(name).size if with_source else 0)

    def _read(self, name: str, used: tuple[str, ...], tick: Tick) -> _Read:
        """Only what no shard of the same name reads anyway is hashed here."""
        source = self.sources.main
        check_inputs(used, source)
        return _Read(name, None if self._is_hashed(name) else hashed(source.file(name), tick))

    def _shard(self, shard: ShardPlan, tick: Tick) -> _Made:
        target = self.places.checkpoint / shard.file
        if (done := self.journal.shards.get(shard.file)) is not None:
            if sha256_path(target, lambda _: None) == done.sha256:
                tick(self._cost(shard.file))
                return _Made(shard.file, done, reused=True)
            target.unlink()
        done = make_shard(shard, self.sources, target, tick)
        if done.source is not None:
            check_published(self.sources.main.file(shard.file), done.source)
        return _Made(shard.file, done)

    def _finished(self, result: _Made | _Read) -> None:
        if isinstance(result, _Made):
            if not result.reused:
                self._place(result)
            self.reused += result.reused
            if result.done.source is not None:
                self.journal.sources[result.file] = result.done.source
        elif result.sha256 is not None:
            self.journal.sources[result.file] = result.sha256
        self.journal.write(self.places.partial)

    def _place(self, made: _Made) -> None:
        target = self.places.checkpoint / made.file
        with part_of(target).open("rb") as file:
            os.fsync(file.fileno())
        part_of(target).replace(target)
        sync_folder(target.parent)
        self.journal.shards[made.file] = made.done

    def _advance(self, count: int) -> None:
        self.done_bytes += count
        self.progress(self.done_bytes, self.total_bytes)

    def _write_small_files(self) -> None:
        folder = self.places.checkpoint
        for copy in self.plan.copies:
            copy_atomic(origin(copy, self.recipe, self.sources.main.checkpoint), folder / copy.file)
        for name, value in self.plan.json_files.items():
            write_atomic(folder / name, json_bytes(value))
        write_atomic(self.places.partial / RECIPE, self.recipe.absolute().to_yaml().encode())
        if self.plan.llm_args is not None:
            text = yaml.safe_dump(dict(self.plan.llm_args), sort_keys=False)
            write_atomic(self.places.partial / LLM_ARGS, text.encode())

    def _write_manifest(self) -> None:
        """Last of all, and only of sources that are still those that were read."""
        content = manifest_of(self.recipe, self.plan, self.sources, self.identity, self.journal, self.places.partial)
        source = self.sources.main.checkpoint
        if Identity.of(self.recipe, self.plan, source) != self.identity:
            raise BundleError("the source changed while it was read", where=str(source.folder), hint="Build again")
        write_atomic(self.places.partial / MANIFEST, json_bytes(content))

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
