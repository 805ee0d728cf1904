"""The wheel holds all that the shipped recipes name, and runs from any folder without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TRTKIT = "from toolkit.cli import main; main(prog_name='trtkit')"
INPUTS = """\
from toolkit import recipe
from toolkit.resources import recipes_dir
for path in sorted(recipes_dir().glob("*/*.yaml")):
    for loaded in recipe.variants_of(recipe.load(path)).values():
        for named in (loaded.checkpoint.path, loaded.checkpoint.tokenizer, loaded.bench.prompts):
            if named is not None:
                print(named)
"""


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    [wheel] = folder.glob("trtkit-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, cwd: Path, code: str, *argv: str) -> str:
    """What ``code`` prints with the wheel's package."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code, *argv]
    result = subprocess.run(command, cwd=cwd, env=environment, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_the_shipped_recipe_plans_and_builds(site: Path, tmp_path: Path) -> None:
    plan = run(site, tmp_path, TRTKIT, "plan", "tiny-gpt-oss/cpu")
    assert plan.startswith("tiny-gpt-oss-cpu: loads as it is (cpu)\n")
    built = run(site, tmp_path, TRTKIT, "engine", "tiny-gpt-oss/cpu")
    assert built == "build/tiny-gpt-oss-cpu: built and verified, tensors: 213 keep\n"
    assert (tmp_path / "build/tiny-gpt-oss-cpu/engine.json").is_file()


def test_it_holds_every_input_of_a_shipped_recipe(site: Path, tmp_path: Path) -> None:
    named = {Path(line) for line in run(site, tmp_path, INPUTS).splitlines()}
    samples = site / "toolkit/data/samples/tiny-gpt-oss"
    assert named == {samples / "nvfp4", samples / "heldout.txt"}
    assert all(path.exists() for path in named)


def test_the_sample_comes_with_its_origin_and_licence_and_without_its_source(site: Path) -> None:
    names = {path.name for path in (site / "toolkit/data/samples/tiny-gpt-oss").iterdir()}
    assert names == {"nvfp4", "heldout.txt", "LICENSE.python-docs.txt", "PROVENANCE.md"}
