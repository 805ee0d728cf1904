"""The engine bundle on disk: a folder that is whole exactly when it has its manifest, ``engine.json``.

engine.json    manifest, written last: target, actions, SHA-256 of every source and output file, versions
recipe.yaml    the resolved recipe
llm_args.yaml  LLM(...) arguments (runtime tensorrt-llm)
checkpoint/    what the runtime loads
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import recipe as recipes
from toolkit.checkpoint.files import sha256_file
from toolkit.errors import BundleError, RecipeError

MANIFEST = "engine.json"
RECIPE = "recipe.yaml"
LLM_ARGS = "llm_args.yaml"
CHECKPOINT = "checkpoint"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Opening checks the manifest and file sizes; ``check`` reads every byte."""

    folder: Path
    manifest: dict[str, Any]
    recipe: recipes.Recipe

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Raises ``BundleError`` for a folder that is missing, unfinished, of another schema or lacks a file."""
        manifest = read_manifest(folder)
        for name, entry in manifest["files"].items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != entry["size"]:
                found = "is missing" if size is None else f"has {size} bytes, not {entry['size']}"
                raise BundleError(f"{name} {found}", where=str(folder), hint=_rebuild(folder))
        try:
            recipe = recipes.load(folder / RECIPE)
        except RecipeError as error:
            raise BundleError(str(error), where=str(folder), hint=_rebuild(folder)) from None
        return cls(folder, manifest, recipe)

    @property
    def runtime(self) -> str:
        """``cpu`` or ``tensorrt-llm``."""
        return self.recipe.target.runtime

    @property
    def checkpoint_dir(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def tokenizer_dir(self) -> Path:
        return self.folder / CHECKPOINT

    def check(self, progress: Callable[[int], None] | None = None) -> None:
        """Read every file and compare its SHA-256; raises ``BundleError`` naming the first that differs."""
        for name, entry in self.manifest["files"].items():
            if sha256_file(self.folder / name, progress) != entry["sha256"]:
                raise BundleError(f"{name} is not what was built", where=str(self.folder), hint=_rebuild(self.folder))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished bundle."""
    path = folder / MANIFEST
    if not path.is_file():
        what = "the bundle is unfinished" if folder.is_dir() else "there is no engine bundle"
        raise BundleError(what, where=str(folder), hint="Type: trtkit engine RECIPE")
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        version = manifest["schema_version"]
        manifest["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError("the manifest is damaged", where=str(path), hint=_rebuild(folder)) from None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"the manifest has schema {version}, not {SCHEMA_VERSION}", where=str(path), hint=_rebuild(folder)
        )
    return manifest


def _rebuild(folder: Path) -> str:
    return f"Delete {folder} and type: trtkit engine RECIPE"
