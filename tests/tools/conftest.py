"""The sample model behind the real Triton, and the load tools where they are installed."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tools.counts import Tool
from toolkit import recipe as recipes
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.build import build
from toolkit.engine.bundle import Bundle
from toolkit.plan import make_plan
from toolkit.serving.repository import render
from toolkit.serving.server import Server


@pytest.fixture(scope="session")
def bundle(root: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("tools") / "bundle"
    recipe = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", [f"engine.output={output}"])
    with Checkpoint.open(sample) as source:
        return build(recipe, make_plan(recipe, take_census(source)), source).bundle


@pytest.fixture(scope="session")
def server(real_triton: None, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server.start(render(bundle, tmp_path_factory.mktemp("tools") / "repository"))
    yield started
    started.stop(grace_s=0)


@pytest.fixture
def tool(root: Path, tmp_path: Path) -> Callable[[str, str], Tool]:
    """Find a tool by its folder and program; skips where it is not installed."""
    folder = Path(os.environ.get("TRTKIT_TOOLS", root / ".venv"))

    def find(name: str, program: str) -> Tool:
        path = folder / f"tools-{name}" / program
        if platform.machine() != "x86_64" or not path.is_file():
            pytest.skip(f"{name} is not installed; type: sh scripts/load_tools.sh {name}")
        return Tool(path, folder / "tools-perf-analyzer", tmp_path)

    return find
