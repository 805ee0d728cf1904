"""What an unfinished build has done so far: the shards that are written and verified, the sources that are hashed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from toolkit.checkpoint.files import write_atomic
from toolkit.engine.bundle import CHECKPOINT
from toolkit.numerics.fidelity import Report
from toolkit.plan.measure import Measured
from toolkit.plan.types import ShardPlan

JOURNAL = "build.json"


class Done(BaseModel):
    """A shard that stands in its place: its bytes, their SHA-256, and what its changes of format lost.

    ``source`` is the SHA-256 of the source file of the same name, where there is one.
    """

    size: int
    sha256: str
    source: str | None = None
    fidelity: list[dict[str, Any]] = []

    @classmethod
    def of(cls, shard: ShardPlan, manifest: Mapping[str, Any]) -> Done:
        """What a finished bundle's manifest says of a shard; KeyError where it says nothing of it."""
        entry = manifest["files"][f"{CHECKPOINT}/{shard.file}"]
        tensors = {action.inputs[0] for action in shard.actions if action.inputs}
        fidelity = [lost for lost in manifest.get("fidelity", {}).get("tensors", ()) if lost["tensor"] in tensors]
        source = manifest["source"]["files"].get(shard.file, {}).get("sha256")
        return cls(size=entry["size"], sha256=entry["sha256"], source=source, fidelity=fidelity)


class Journal(BaseModel):
    """``weights`` is the identity that all of it belongs to."""

    weights: str
    shards: dict[str, Done] = {}
    sources: dict[str, str] = {}

    @classmethod
    def read(cls, folder: Path, weights: str, shards: Path) -> Journal:
        """The journal in ``folder`` if it is of the same weights, without shards that are not there; else a new one."""
        try:
            found = cls.model_validate_json((folder / JOURNAL).read_bytes())
        except (FileNotFoundError, ValidationError):
            found = cls(weights="")
        if found.weights != weights:
            return cls(weights=weights)
        found.shards = {name: done for name, done in found.shards.items() if _size(shards / name) == done.size}
        return found

    def write(self, folder: Path) -> None:
        write_atomic(folder / JOURNAL, self.model_dump_json().encode())


def measured_of(entry: Mapping[str, Any]) -> Measured:
    """A ``Measured`` from its ``to_dict``; KeyError or TypeError for anything else."""
    report = Report(**{field.name: entry[field.name] for field in fields(Report)})
    return Measured(entry["tensor"], entry["kind"], report)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
