"""What a bundle is made of, as two hashes: its weights, and everything.

Shards count by size and time, since hashing 70 GB to find that nothing changed would take minutes; small files by their
bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.checkpoint.files import sha256_file
from toolkit.checkpoint.source import Checkpoint
from toolkit.plan.types import Copy, Plan
from toolkit.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Identity:
    """Equal ``weights`` mean that shards can be taken over; equal ``whole`` that there is nothing to do."""

    weights: str
    whole: str

    @classmethod
    def of(cls, recipe: Recipe, plan: Plan, source: Checkpoint) -> Identity:
        stats = {name: source.path(name).stat() for name in source.shards}
        weights = _digest(
            {
                "shards": [asdict(shard) for shard in plan.shards],
                "source": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
                "borrowed": _borrowed(recipe, plan),
            }
        )
        whole = _digest(
            {
                "weights": weights,
                "plan": plan.digest,
                "name": recipe.name,
                "checkpoint": recipe.absolute().checkpoint.model_dump(mode="json"),
                "engine": recipe.engine.model_dump(mode="json", exclude={"output"}),
                "copies": {copy.file: sha256_file(origin(copy, recipe, source)) for copy in plan.copies},
            }
        )
        return cls(weights, whole)


def origin(copy: Copy, recipe: Recipe, source: Checkpoint) -> Path:
    """Where a copied file comes from."""
    if copy.origin == "checkpoint":
        return source.path(copy.file)
    assert recipe.checkpoint.tokenizer is not None
    return recipe.checkpoint.tokenizer / copy.file


def _borrowed(recipe: Recipe, plan: Plan) -> dict[str, dict[str, list[int]]]:
    """Size and time of the shards that tensors are taken from, by the recipe's key."""
    origins = {action.origin for action in plan.actions if action.origin is not None}
    folders: dict[str, Path] = {origin: getattr(recipe.checkpoint, origin) for origin in sorted(origins)}
    return {
        origin: {
            path.name: [(stat := path.stat()).st_size, stat.st_mtime_ns]
            for path in sorted(folder.glob("*.safetensors"))
        }
        for origin, folder in folders.items()
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
