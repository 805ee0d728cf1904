"""From a recipe's checkpoint section to an opened checkpoint and its plan; planning never downloads weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.checkpoint import hub, remote
from toolkit.checkpoint.census import Census, take_census
from toolkit.checkpoint.source import TOKENIZER_FILES, Checkpoint, reading
from toolkit.errors import CheckpointError, PlanError
from toolkit.models.known import predicted_census
from toolkit.plan.planner import make_plan
from toolkit.plan.repairs import Tensors
from toolkit.plan.types import Note, Plan
from toolkit.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Download:
    """What a build would fetch first: files and bytes. ``exact`` is False where they are predicted, not asked for."""

    where: str
    files: int
    nbytes: int
    exact: bool


def open_planned(recipe: Recipe) -> tuple[Checkpoint, Plan]:
    """The recipe's checkpoint, downloaded first if it is on the Hub and not in the cache, and the plan for it.

    Raises ``PlanError`` instead of downloading what the target cannot load.
    """
    if (source := _open_local(recipe)) is None:
        if refusals := plan_recipe(recipe).refusals:
            raise PlanError(refusals[0].what, where="target", hint=refusals[0].ways_out[0])
        source = open_source(recipe)
    return source, _plan(recipe, take_census(source))


def open_source(recipe: Recipe) -> Checkpoint:
    """The recipe's checkpoint, downloaded first if it is on the Hub and not in the cache."""
    if (source := _open_local(recipe)) is not None:
        return source
    section = recipe.checkpoint
    assert section.repo is not None
    return Checkpoint.open(hub.fetch(section.repo, section.revision))


def plan_recipe(recipe: Recipe) -> Plan:
    """The plan of a recipe from headers on disk, else on the Hub, else predicted for a known published checkpoint."""
    if (source := _open_local(recipe)) is not None:
        with source:
            return _plan(recipe, take_census(source))
    section = recipe.checkpoint
    assert section.repo is not None
    try:
        census = remote.read_census(section.repo, section.revision)
    except CheckpointError as error:
        if (published := predicted_census(section.repo)) is None:
            raise
        plan = _plan(recipe, published, predicted=True)
        return replace(plan, notes=(Note(f"No header was read: {error.what}", str(error.where)), *plan.notes))
    return _plan(recipe, census)


def download_of(recipe: Recipe) -> Download | None:
    """What ``open_planned`` would fetch; None where the checkpoint is here."""
    section = recipe.checkpoint
    if section.repo is None or hub.cached(section.repo, section.revision) is not None:
        return None
    where = hub.name_of(section.repo, section.revision)
    try:
        absent, _ = hub.missing(hub.listing(section.repo, section.revision))
    except CheckpointError:
        if (census := predicted_census(section.repo)) is None:
            raise
        return Download(where, len(census.shards), sum(census.shards.values()), exact=False)
    return Download(where, len(absent), sum(absent.values()), exact=True)


def _open_local(recipe: Recipe) -> Checkpoint | None:
    """The checkpoint, unless it would have to be downloaded."""
    section = recipe.checkpoint
    if section.path is not None:
        return Checkpoint.open(section.path)
    assert section.repo is not None
    folder = hub.cached(section.repo, section.revision)
    return Checkpoint.open(folder) if folder is not None else None


def _plan(recipe: Recipe, census: Census, *, predicted: bool = False) -> Plan:
    return make_plan(
        recipe,
        census,
        tokenizer_files=_tokenizer_files(recipe),
        bf16=_headers(recipe.checkpoint.bf16),
        input_scales=_headers(recipe.checkpoint.input_scales),
        predicted=predicted,
    )


def _headers(folder: Path | None) -> Tensors | None:
    if folder is None:
        return None
    with Checkpoint.open(folder) as checkpoint:
        return checkpoint.tensors


def _tokenizer_files(recipe: Recipe) -> tuple[str, ...]:
    """What the recipe's tokenizer folder has of the files that make a tokenizer."""
    folder = recipe.checkpoint.tokenizer
    if folder is None:
        return ()
    with reading(folder):
        return tuple(name for name in TOKENIZER_FILES if (folder / name).is_file())
