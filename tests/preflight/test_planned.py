from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolkit import recipe as recipes
from toolkit.checkpoint import hub
from toolkit.errors import CheckpointError
from toolkit.models.known import predicted_census
from toolkit.plan.source import plan_recipe
from toolkit.plan.types import Evidence, Plan
from toolkit.preflight.finding import Finding
from toolkit.preflight.planned import ask, judged
from toolkit.recipe import Recipe

AS_IT_IS = "the target loads the checkpoint as it is"
FACTS = "Type: trtkit plan my.yaml, for the facts"
SURE = Evidence("It is so.", "somewhere")
CONTESTED, UNVERIFIED = replace(SURE, status="contested"), replace(SURE, status="unverified")


@pytest.fixture
def on_the_hub(root: Path) -> Recipe:
    return recipes.load(root / "recipes/gpt-oss-120b/b200.yaml", ())


@pytest.fixture
def sure(root: Path) -> Plan:
    return plan_recipe(recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", ()))


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({}, Finding("plan", "ok", AS_IT_IS)),
        ({"evidence": (SURE, replace(SURE, status="inferred"))}, Finding("plan", "ok", AS_IT_IS)),
        ({"verdict": "after-change"}, Finding("plan", "ok", "the target loads the checkpoint after a change")),
        (
            {"verdict": "after-change", "lossy": True},
            Finding(
                "plan",
                "warn",
                "the target loads the checkpoint after a change; "
                "not exactly, since the weights change their FP4 format",
                FACTS,
            ),
        ),
        (
            {"contested": True},
            Finding(
                "plan", "warn", f"{AS_IT_IS}; contested: the kernel is reported to fail, or sources disagree", FACTS
            ),
        ),
        (
            {"contested": True, "evidence": (SURE, CONTESTED)},
            Finding("plan", "warn", f"{AS_IT_IS}; contested: It is so", FACTS),
        ),
        ({"evidence": (UNVERIFIED,)}, Finding("plan", "warn", f"{AS_IT_IS}; unverified: It is so", FACTS)),
        (
            {"confirm": "python3 -c pass"},
            Finding(
                "plan",
                "warn",
                f"{AS_IT_IS}; unverified: whether this release has what the loader needs",
                f"{FACTS}. In the container this must print True: python3 -c pass",
            ),
        ),
    ],
)
def test_what_a_plan_rests_on(sure: Plan, changes: dict[str, Any], finding: Finding) -> None:
    assert judged(replace(sure, **changes), "my.yaml") == finding


def test_a_shipped_plan_with_an_unverified_fact(on_the_hub: Recipe) -> None:
    found = ask(on_the_hub, "gpt-oss-120b/b200").finding
    assert found.status == "warn"
    assert found.detail.startswith("the target loads the checkpoint after a change; unverified: #8956, ")
    assert found.fix is not None
    assert found.fix.startswith("Type: trtkit plan gpt-oss-120b/b200, for the facts. In the container ")


def test_where_the_hub_gave_no_answer_it_is_not_asked_again(
    on_the_hub: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    really = hub.listing

    def listing(repo: str, revision: str | None) -> hub.Listing:
        asked.append(repo)
        return really(repo, revision)

    monkeypatch.setattr("toolkit.checkpoint.remote.listing", listing)
    monkeypatch.setattr(hub, "listing", listing)
    published = predicted_census("Firworks/gpt-oss-120b-nvfp4")
    assert published is not None
    assert ask(on_the_hub, "x").fetch_bytes == sum(published.shards.values())
    assert asked == ["Firworks/gpt-oss-120b-nvfp4"]


def test_an_unheard_of_checkpoint_is_asked_for_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(repo: str, revision: str | None) -> hub.Listing:
        raise AssertionError(repo)

    monkeypatch.setattr(hub, "listing", listing)
    recipe = recipes.load(root / "recipes/gpt-oss-120b/b200.yaml", ("checkpoint.repo=owner/unheard-of",))
    planned = ask(recipe, "x")
    assert (planned.finding.status, planned.plan, planned.fetch_bytes) == ("skip", None, None)


def test_a_refusal_of_the_hub(on_the_hub: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def listing(repo: str, revision: str | None) -> hub.Listing:
        raise CheckpointError("the repository is gated", where=f"hub:{repo}", hint="Type: hf auth login")

    monkeypatch.setattr("toolkit.checkpoint.remote.listing", listing)
    monkeypatch.setattr(hub, "listing", listing)
    planned = ask(on_the_hub, "x")
    assert planned.finding == Finding(
        "plan", "skip", "hub:Firworks/gpt-oss-120b-nvfp4: the repository is gated", "Type: hf auth login"
    )
    assert planned.fetch_bytes is None
