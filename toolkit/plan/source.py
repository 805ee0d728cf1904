"""From a recipe's checkpoint section to an opened checkpoint, or to the census of a known published one."""

from __future__ import annotations

from pathlib import Path

from toolkit.checkpoint import hub
from toolkit.checkpoint.census import Census, take_census
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.models.known import predicted_census
from toolkit.plan.planner import make_plan
from toolkit.plan.types import Plan
from toolkit.recipe import Recipe


def open_source(recipe: Recipe) -> Checkpoint:
    """The recipe's checkpoint, downloaded first if it is on the Hub and not in the cache."""
    section = recipe.checkpoint
    if section.path is not None:
        return Checkpoint.open(section.path)
    assert section.repo is not None
    folder = hub.cached(section.repo, section.revision) or hub.fetch(section.repo, section.revision)
    return Checkpoint.open(folder)


def plan_recipe(recipe: Recipe) -> Plan:
    """The plan of a recipe from the headers on disk; for a known published checkpoint that is not here, predicted."""
    census, predicted = _census(recipe)
    return make_plan(recipe, census, predicted=predicted)


def _census(recipe: Recipe) -> tuple[Census, bool]:
    section = recipe.checkpoint
    folder: Path | None = section.path
    if folder is None:
        assert section.repo is not None
        folder = hub.cached(section.repo, section.revision)
    if folder is not None:
        with Checkpoint.open(folder) as source:
            return take_census(source), False
    assert section.repo is not None
    if (census := predicted_census(section.repo)) is None:
        raise CheckpointError(
            "the checkpoint is not in the local cache and trtkit does not know its headers",
            where=f"hub:{section.repo}",
            hint=f"Type: hf download {section.repo} --local-dir DIR, then add --set checkpoint.path=DIR",
        )
    return census, True
