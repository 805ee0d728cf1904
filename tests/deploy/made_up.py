"""Recipes and deployments for the tests of this room."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from toolkit.deploy.deployment import Built, Deployment, Options, deployment
from toolkit.engine.build import build
from toolkit.plan.source import open_planned
from toolkit.recipe import Recipe, load
from toolkit.resources import recipes_dir

GIB = 1 << 30
IDENTITY = "ab" * 32
B200 = ("target.runtime=tensorrt-llm", "target.release=1.2.1", "target.gpu=b200")


def recipe(name: str = "gpt-oss-120b/b200", *overrides: str) -> Recipe:
    return load(recipes_dir() / f"{name}.yaml", overrides)


def made(name: str = "gpt-oss-120b/b200", *overrides: str, nbytes: int = 65 * GIB, **options: Any) -> Deployment:
    """The deployment of a bundle at /srv/bundle with ``nbytes``."""
    return deployment(recipe(name, *overrides), Built("/srv/bundle", nbytes, IDENTITY), Options(**options))


def sample_recipe(output: Path, *overrides: str) -> Recipe:
    """The sample's, with its bundle at ``output``."""
    return recipe("tiny-gpt-oss/cpu", f"engine.output={output}", *overrides)


def build_sample(output: Path, *overrides: str) -> None:
    found = sample_recipe(output, *overrides)
    source, plan = open_planned(found)
    with source:
        build(found, plan, source)


def without_tokenizer(bundle: Path, folder: Path) -> Path:
    """A copy of ``bundle`` that was built without a tokenizer."""
    shutil.copytree(bundle, folder)
    (folder / "checkpoint" / "tokenizer.json").unlink()
    manifest = json.loads((folder / "engine.json").read_text())
    del manifest["files"]["checkpoint/tokenizer.json"]
    (folder / "engine.json").write_text(json.dumps(manifest))
    return folder
