"""From a recipe's checkpoint section to an opened checkpoint and its plan; planning never downloads weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.checkpoint import hub, remote
from toolkit.checkpoint.census import Census, take_census
from toolkit.checkpoint.scales import read_scalars
from toolkit.checkpoint.source import TOKENIZER_FILES, Checkpoint, reading
from toolkit.errors import NoAnswerError, PlanError
from toolkit.inspection import scalar_findings
from toolkit.models.known import predicted_census
from toolkit.plan.planner import make_plan
from toolkit.plan.repairs import Tensors
from toolkit.plan.types import Note, Origin, Plan
from toolkit.recipe import Recipe

BORROWED: dict[Origin, str] = {
    "bf16": "no block scale has to be repaired",
    "input_scales": "the bundle has none",
}
"""What the recipe's other checkpoints are for, as said where there is no need of it."""


@dataclass(frozen=True, slots=True)
class Download:
    """What would be fetched first: files and bytes. ``exact`` is False, and the files are None, where predicted."""

    where: str
    files: int | None
    nbytes: int
    exact: bool


def refuse_refused(plan: Plan) -> None:
    """Raises ``PlanError`` for what the target cannot load."""
    if plan.refusals:
        raise PlanError(plan.refusals[0].what, where="target", hint=plan.refusals[0].ways_out[0])


def open_planned(recipe: Recipe, check: Callable[[Plan], None] = refuse_refused) -> tuple[Checkpoint, Plan]:
    """The recipe's checkpoint, downloaded first if it is on the Hub and not in the cache, and the plan for it.

    ``check`` raises for a plan that is not worth a download.
    """
    if (source := _open_local(recipe)) is None:
        check(plan_recipe(recipe))
        source = open_source(recipe)
    return source, _plan_read(recipe, source)


def open_source(recipe: Recipe) -> Checkpoint:
    """The recipe's checkpoint, downloaded first if it is on the Hub and not in the cache."""
    if (source := _open_local(recipe)) is not None:
        return source
    section = recipe.checkpoint
    assert section.repo is not None
    return Checkpoint.open(hub.fetch(section.repo, section.revision))


def plan_recipe(recipe: Recipe) -> Plan:
    """The plan of a recipe from headers on disk, else on the Hub.

    Predicted for a known published checkpoint where the Hub gives no answer. One that it refuses, such as a revision
    that it does not have, is a ``CheckpointError``.
    """
    if (source := _open_local(recipe)) is not None:
        with source:
            return _plan_read(recipe, source)
    section = recipe.checkpoint
    assert section.repo is not None
    try:
        census = remote.read_census(section.repo, section.revision)
    except NoAnswerError as error:
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
    except NoAnswerError:
        if (census := predicted_census(section.repo)) is None:
            raise
        return Download(where, None, sum(census.shards.values()), exact=False)
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
    plan = make_plan(
        recipe,
        census,
        tokenizer_files=_tokenizer_files(recipe),
        bf16=_headers(recipe.checkpoint.bf16),
        input_scales=_headers(recipe.checkpoint.input_scales),
        predicted=predicted,
    )
    return replace(plan, notes=(*plan.notes, *_unused(recipe, plan)))


def _plan_read(recipe: Recipe, source: Checkpoint) -> Plan:
    """The plan of a checkpoint that is here, with what its scalar scales say: a few kilobytes beside the headers."""
    census = take_census(source)
    plan = _plan(recipe, census)
    if plan.refusals:
        return plan
    kept = {action.output for action in plan.actions if action.kind == "keep"}
    scalars = {name: value for name, value in read_scalars(source).items() if name in kept}
    found = [each for each in scalar_findings(census, scalars) if each.severity != "info"]
    return replace(plan, notes=(*plan.notes, *(Note(f"{each.detail}. {each.repair}", each.where) for each in found)))


def _unused(recipe: Recipe, plan: Plan) -> Iterator[Note]:
    """The recipe's other checkpoints that nothing is taken from; a refused plan takes nothing yet."""
    taken = {action.origin for action in plan.actions}
    for origin, use in BORROWED.items():
        if getattr(recipe.checkpoint, origin) is not None and origin not in taken and not plan.refusals:
            yield Note(f"checkpoint.{origin} is not needed: {use}")


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
