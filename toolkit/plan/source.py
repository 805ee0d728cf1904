"""From a recipe's checkpoint section to an opened checkpoint and its plan; a known published one is planned unread."""

from __future__ import annotations

from toolkit.checkpoint import hub
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.source import TOKENIZER_FILES, Checkpoint, reading
from toolkit.errors import CheckpointError
from toolkit.models.known import predicted_census
from toolkit.plan.planner import make_plan
from toolkit.plan.types import Plan
from toolkit.recipe import Recipe


def open_planned(recipe: Recipe) -> tuple[Checkpoint, Plan]:
    """The recipe's checkpoint, downloaded first if it is on the Hub and not in the cache, and the plan for it."""
    source = open_source(recipe)
    return source, _plan(recipe, source)


def open_source(recipe: Recipe) -> Checkpoint:
    """The recipe's checkpoint, downloaded first if it is on the Hub and not in the cache."""
    if (source := _open_local(recipe)) is not None:
        return source
    section = recipe.checkpoint
    assert section.repo is not None
    return Checkpoint.open(hub.fetch(section.repo, section.revision))


def plan_recipe(recipe: Recipe) -> Plan:
    """The plan of a recipe from the headers on disk; for a known published checkpoint that is not here, predicted."""
    if (source := _open_local(recipe)) is not None:
        with source:
            return _plan(recipe, source)
    repo = recipe.checkpoint.repo
    assert repo is not None
    if (census := predicted_census(repo)) is None:
        raise CheckpointError(
            "the checkpoint is not whole in the local cache and trtkit does not know its headers",
            where=f"hub:{repo}",
            hint=f"Type: hf download {repo} --local-dir DIR, then add --set checkpoint.path=DIR",
        )
    return make_plan(recipe, census, tokenizer_files=_tokenizer_files(recipe), predicted=True)


def _open_local(recipe: Recipe) -> Checkpoint | None:
    """The checkpoint, unless it would have to be downloaded."""
    section = recipe.checkpoint
    if section.path is not None:
        return Checkpoint.open(section.path)
    assert section.repo is not None
    folder = hub.cached(section.repo, section.revision)
    return Checkpoint.open(folder) if folder is not None else None


def _plan(recipe: Recipe, source: Checkpoint) -> Plan:
    return make_plan(recipe, take_census(source), tokenizer_files=_tokenizer_files(recipe))


def _tokenizer_files(recipe: Recipe) -> tuple[str, ...]:
    """What the recipe's tokenizer folder has of the files that make a tokenizer."""
    folder = recipe.checkpoint.tokenizer
    if folder is None:
        return ()
    with reading(folder):
        return tuple(name for name in TOKENIZER_FILES if (folder / name).is_file())
