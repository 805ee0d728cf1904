from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from toolkit import recipe

Run = Callable[..., Result]


def test_ls(trtkit: Run) -> None:
    result = trtkit("recipes", "ls")
    assert result.exit_code == 0
    lines = [line.split("  ", 1) for line in result.output.splitlines()]
    abouts = {name.strip(): about.strip() for name, about in lines}
    assert abouts["tiny-gpt-oss/cpu"] == "The trained sample gpt-oss on the CPU runtime: every stage of trtkit, no GPU."
    rows = json.loads(trtkit("recipes", "ls", "--json").output)
    assert [row["name"] for row in rows] == sorted(abouts) == [name.strip() for name, _ in lines]
    assert all(Path(row["path"]).is_file() for row in rows)


def test_show_resolves_names_and_overrides(trtkit: Run, tmp_path: Path) -> None:
    shown = trtkit("recipes", "show", "tiny-gpt-oss/cpu", "--set", "engine.threads=2")
    assert shown.exit_code == 0
    assert "  threads: 2\n" in shown.output
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown.output)
    assert recipe.load(copy).engine.threads == 2
    document = json.loads(trtkit("recipes", "show", "tiny-gpt-oss/cpu", "--json").output)
    assert document["target"]["runtime"] == "cpu"


def test_validate(trtkit: Run, root: Path, tmp_path: Path) -> None:
    good = root / "recipes/tiny-gpt-oss/cpu.yaml"
    bad = tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("max_batch_size", "max_bach_size"))
    result = trtkit("recipes", "validate", good, bad)
    assert result.exit_code == 1
    assert result.stdout == f"{good}: ok\n"
    line = good.read_text().splitlines().index("  max_batch_size: 32") + 1
    assert result.stderr == (
        f"error: {bad}:{line}: unknown key 'engine.max_bach_size'. Did you mean 'max_batch_size'?\n"
    )


def test_a_recipe_that_cannot_be_read_is_one_line(trtkit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "n" * 300
    assert trtkit("recipes", "show", long).stderr == (
        f"error: {long}: cannot read it: File name too long. Type: trtkit recipes ls\n"
    )
    stat = Path.stat

    def closed(path: Path, **options: bool) -> os.stat_result:
        if path.is_relative_to(tmp_path):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", closed)
    inside = tmp_path / "recipe.yaml"
    assert trtkit("recipes", "show", inside).stderr == (
        f"error: {inside}: cannot read it: Permission denied. Type: trtkit recipes ls\n"
    )


def test_schema_is_the_committed_file(trtkit: Run, root: Path) -> None:
    assert trtkit("recipes", "schema").output == (root / "recipes/schema.json").read_text()
