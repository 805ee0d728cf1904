"""The plan of every (model, release, GPU) cell, and the table of them in the documentation, as text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from toolkit import recipe
from toolkit.plan.source import plan_recipe

ROOT = Path(__file__).parents[2]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plan_goldens", ROOT / "scripts" / "plan_goldens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


goldens = load_script()


@pytest.mark.parametrize("model", goldens.MODELS)
@pytest.mark.parametrize("release", goldens.RELEASES)
def test_plans(model: str, release: str) -> None:
    path = goldens.GOLDENS / f"{model}-{release}.txt"
    assert goldens.golden(model, release) == path.read_text(encoding="utf-8"), "type: make generated"


def test_no_golden_is_left_over() -> None:
    names = {f"{model}-{release}.txt" for model in goldens.MODELS for release in goldens.RELEASES}
    assert {path.name for path in goldens.GOLDENS.iterdir()} == names


def test_the_matrix_in_the_documentation() -> None:
    assert goldens.matrix() == goldens.MATRIX.read_text(encoding="utf-8"), "type: make generated"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes").glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_shipped_recipe_loads_on_its_target(path: Path) -> None:
    plan = plan_recipe(recipe.load(path))
    assert plan.verdict in ("loads", "after-change")
    assert plan.lossy is False
    assert plan.memory is None or plan.memory.fits[0].requests > 0
