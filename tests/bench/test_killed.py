"""A sweep that is killed at any moment, and two sweeps in one folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.made_up import small_recipe
from tests.bench.runners.engines import Engines
from toolkit.bench.events import Event, Started
from toolkit.bench.grid import Point
from toolkit.bench.records import INDEX_FILE, Scan, scan_sweep
from toolkit.bench.run import run_sweep
from toolkit.recipe import Recipe

ROOT = Path(__file__).parents[2]
KILLS = 10
TIMED = {"metrics", "started_at", "ended_at", "duration_s", "load_average_1m", "evidence", "attempt", "argv"}
TIMED |= {"conditions", "telemetry", "energy_j"}
OVERRIDES = [
    "bench.runner=engine",
    "bench.variants=[{name: a}, {name: b, set: {engine.precision: w4a4}}]",
    "bench.strategy=grid",
    "bench.repeats=2",
]


def made(folder: Path) -> Recipe:
    folder.mkdir()
    recipe = small_recipe(folder, OVERRIDES)
    (folder / "resolved.yaml").write_text(recipe.to_yaml())
    return recipe


def sweep(folder: Path, fatal: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench.sweep_process", str(folder / "resolved.yaml"), str(fatal)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def what_is_not_timed(scan: Scan) -> dict[Point, dict[str, Any]]:
    """Of each finished trial; its place of work is not part of it."""
    return {trial.point: trial.model_dump(mode="json", exclude=TIMED | {"recipe"}) for trial in scan.ok}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[Point, dict[str, Any]]]:
    """How many operations an uninterrupted sweep has, and its records."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    recipe = made(folder)
    done = sweep(folder)
    assert done.returncode == 0, done.stderr
    (written,) = recipe.bench.output.iterdir()
    return int(done.stdout), what_is_not_timed(scan_sweep(written))


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_a_random_moment_and_resumed(
    tmp_path: Path, whole: tuple[int, dict[Point, dict[str, Any]]], number: int
) -> None:
    operations, expected = whole
    assert operations > 100
    recipe = made(tmp_path / "killed")
    fatal = random.Random(number).randint(1, operations)
    assert sweep(tmp_path / "killed", fatal).returncode == -signal.SIGKILL
    before = {trial.point for folder in _sweeps(recipe) for trial in scan_sweep(folder).ok}
    measured: list[Point] = []

    def listen(event: Event) -> None:
        if isinstance(event, Started):
            measured.append(event.point)

    result = run_sweep(recipe, runner=Engines().runner, on_event=listen)
    assert result.ok
    scan = scan_sweep(result.folder)
    assert (scan.damaged, len(scan.trials)) == ((), len(scan.ok))
    assert what_is_not_timed(scan) == expected
    assert sorted(map(str, measured)) == sorted(map(str, expected.keys() - before))
    assert len((result.folder / INDEX_FILE).read_text().splitlines()) == len(expected)
    assert not [path for path in result.folder.rglob("*") if path.name.endswith(".tmp")]


def _sweeps(recipe: Recipe) -> list[Path]:
    """Folders of sweeps that had begun when they were killed."""
    output = recipe.bench.output
    return [path for path in output.iterdir() if (path / "trials").is_dir()] if output.is_dir() else []


def test_two_sweeps_in_one_folder_keep_apart(tmp_path: Path) -> None:
    first = small_recipe(tmp_path, OVERRIDES)
    second = first.model_copy(update={"bench": first.bench.model_copy(update={"seed": 1})})
    folders = [run_sweep(recipe, runner=Engines().runner).folder for recipe in (first, second)]
    assert folders[0] != folders[1]
    assert set(first.bench.output.iterdir()) == set(folders)
    assert [len(scan_sweep(folder).ok) for folder in folders] == [8, 8]
