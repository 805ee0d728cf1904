from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.bench.portable import portable_argv, portable_path, portable_recipe
from toolkit.recipe import Recipe


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_path(tmp_path: Path) -> None:
    assert portable_path(Path("a/../b/c.yaml")) == "b/c.yaml"
    assert portable_path(tmp_path / "here" / "b" / "c") == "b/c"
    assert portable_path(tmp_path / "elsewhere" / "c") == "c"
    assert portable_path(Path("../elsewhere/c")) == "c"


def test_a_link_inside_stands_for_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    Path("near").symlink_to(tmp_path / "far")
    assert portable_path(Path("near/model")) == "near/model"


def test_a_command_line(tmp_path: Path) -> None:
    argv = [
        "trtkit",
        f"{tmp_path}/here/r.yaml",
        "--set",
        "a.b=1",
        "--set",
        f"a.c={tmp_path}/far/x",
        "../r.yaml",
        "a=b=",
    ]
    assert portable_argv(argv) == ("trtkit", "r.yaml", "--set", "a.b=1", "--set", "a.c=x", "../r.yaml", "a=b=")
    assert portable_argv([f"{tmp_path}/here/a=b.yaml"]) == ("a=b.yaml",)


def test_a_recipe_keeps_everything_but_its_folders(recipe: Recipe, tmp_path: Path) -> None:
    document = recipe.model_dump(mode="json")
    document["checkpoint"]["path"] = "nvfp4"
    document["engine"]["output"] = "bundle"
    document["serve"]["repository"] = "triton"
    document["bench"] |= {"output": "results", "prompts": "prompts.txt"}
    assert portable_recipe(recipe) == document
