from __future__ import annotations

from pathlib import Path

import pytest

from toolkit import resources


def test_checkout_has_them_beside_the_package(root: Path) -> None:
    assert resources.recipes_dir() == root / "recipes"
    assert (resources.triton_repo_dir() / "tensorrt_llm/1/model.py").is_file()


def test_wheel_has_them_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/recipes").mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE", tmp_path)
    assert resources.recipes_dir() == tmp_path / "data/recipes"
