"""From a recipe to an opened checkpoint and its plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.helpers import write_checkpoint
from toolkit import recipe
from toolkit.checkpoint import hub
from toolkit.checkpoint.census import take_census
from toolkit.errors import CheckpointError, PlanError
from toolkit.plan import make_plan
from toolkit.plan.source import open_planned, open_source, plan_recipe

REPO = "Firworks/gpt-oss-120b-nvfp4"


def load(root: Path, *overrides: str) -> recipe.Recipe:
    return recipe.load(root / "recipes/tiny-gpt-oss/cpu.yaml", overrides)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache with the published repository at main; returns the snapshot's folder, which is still missing."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--Firworks--gpt-oss-120b-nvfp4"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    return folder / "snapshots" / ("0" * 40)


def test_a_local_checkpoint_is_opened_and_planned_in_one_call(root: Path, sample: Path) -> None:
    source, plan = open_planned(load(root))
    with source:
        assert source.folder == sample
        assert plan == make_plan(load(root), take_census(source)) == plan_recipe(load(root))


def test_the_tokenizer_folder_is_looked_into(root: Path, sample: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("")
    source, plan = open_planned(load(root, f"checkpoint.tokenizer={tmp_path}"))
    with source:
        assert [copy.file for copy in plan.copies if copy.origin == "tokenizer"] == ["tokenizer.json"]
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(PlanError, match=r"there is no tokenizer\.json"):
        plan_recipe(load(root, f"checkpoint.tokenizer={tmp_path}"))


def test_a_whole_snapshot_is_taken_from_the_cache(root: Path, sample: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    for path in sample.iterdir():
        (cache / path.name).symlink_to(path)
    published = load(root, f"checkpoint.repo={REPO}")
    with open_source(published) as source:
        assert source.folder == cache
    assert not plan_recipe(published).predicted


def test_an_interrupted_download_is_resumed_by_building_and_predicted_by_planning(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(cache, {}, weight_map={"a": "model-00001-of-00002.safetensors"})
    published = recipe.load(root / "recipes/gpt-oss-120b/b200.yaml")
    assert plan_recipe(published).predicted
    asked: list[tuple[str, str | None]] = []

    def fetch(repo: str, revision: str | None) -> Path:
        asked.append((repo, revision))
        return cache

    monkeypatch.setattr(hub, "fetch", fetch)
    with pytest.raises(CheckpointError, match=r"the shard 'model-00001-of-00002[.]safetensors' is missing"):
        open_source(published)
    assert asked == [(REPO, "main")]
