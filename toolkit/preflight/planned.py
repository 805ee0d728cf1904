"""The plan of a recipe's target as the doctor's first finding: whether it loads, and on what that rests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.errors import CheckpointError, NoAnswerError, PlanError
from toolkit.models.known import predicted_census
from toolkit.plan.source import download_of, plan_recipe
from toolkit.plan.types import Plan
from toolkit.preflight.finding import Finding, Status
from toolkit.recipe import Recipe

LOADS = {
    "loads": "the target loads the checkpoint as it is",
    "after-change": "the target loads the checkpoint after a change",
}
LOSSY = "not exactly, since the weights change their FP4 format"
CONTESTED = "contested: the kernel is reported to fail, or sources disagree"
UNVERIFIED = "unverified: whether this release has what the loader needs"


@dataclass(frozen=True, slots=True)
class Planned:
    """``plan`` is None unless the target loads the checkpoint. ``fetch_bytes`` of a download, None if unknown."""

    finding: Finding
    plan: Plan | None = None
    fetch_bytes: int | None = None


def ask(recipe: Recipe, named: str) -> Planned:
    """Plan ``recipe``. Nothing is raised for a checkpoint that cannot be read, nor ``PlanError`` for what is refused.

    What is only not downloaded is no failure. The Hub is not asked for sizes where it gave no answer before.
    """
    try:
        plan = plan_recipe(recipe)
    except OSError as error:  # a token or a cache of the Hub's that cannot be read
        return Planned(Finding("plan", _unread(recipe), f"{error.filename}: {error.strerror}"))
    except (CheckpointError, PlanError) as error:
        status = _unread(recipe) if isinstance(error, CheckpointError) else "fail"
        detail = f"{error.where}: {error.what}" if error.where else error.what
        size = None if isinstance(error, NoAnswerError) else _download(recipe)
        return Planned(Finding("plan", status, detail, error.hint), fetch_bytes=size)
    size = _published(recipe) if plan.predicted else _download(recipe)
    if plan.refusals:
        finding = Finding("plan", "fail", plan.refusals[0].what, f"Type: trtkit plan {named}, for the ways out")
        return Planned(finding, fetch_bytes=size)
    return Planned(judged(plan, named), plan, size)


def judged(plan: Plan, named: str) -> Finding:
    """``warn`` where the change is not exact, or a fact that decided is not sure."""
    doubts = list(_doubts(plan))
    if not doubts:
        return Finding("plan", "ok", LOADS[plan.verdict])
    fix = f"Type: trtkit plan {named}, for the facts"
    if plan.confirm:
        fix += f". In the container this must print True: {plan.confirm}"
    return Finding("plan", "warn", "; ".join([LOADS[plan.verdict], *doubts]), fix)


def _doubts(plan: Plan) -> Iterator[str]:
    if plan.lossy:
        yield LOSSY
    unsure = [fact for fact in plan.evidence if fact.status in ("unverified", "contested")]
    yield from (f"{fact.status}: {fact.statement.rstrip('.')}" for fact in unsure)
    statuses = {fact.status for fact in unsure}
    if plan.contested and "contested" not in statuses:
        yield CONTESTED
    if plan.confirm and "unverified" not in statuses:
        yield UNVERIFIED


def _unread(recipe: Recipe) -> Status:
    return "skip" if recipe.checkpoint.repo is not None else "fail"


def _download(recipe: Recipe) -> int | None:
    """Bytes of a download; None where nothing is to download, or the Hub does not say."""
    try:
        download = download_of(recipe)
    except (CheckpointError, OSError):
        return None
    return download.nbytes if download else None


def _published(recipe: Recipe) -> int | None:
    """Bytes of a known published checkpoint, without asking the Hub."""
    census = predicted_census(recipe.checkpoint.repo) if recipe.checkpoint.repo is not None else None
    return sum(census.shards.values()) if census is not None else None
