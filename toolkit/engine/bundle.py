"""The engine bundle on disk: a folder that is whole exactly when it has its manifest, ``engine.json``.

engine.json    manifest, written last: target, actions, SHA-256 of every source and output file, versions, a seal
recipe.yaml    the resolved recipe
llm_args.yaml  LLM(...) arguments (runtime tensorrt-llm)
checkpoint/    what the runtime loads, or a TensorRT-LLM checkpoint for trtllm-build
engine/        the compiled engine, its log and timing cache beside it (backend tensorrt, where trtllm-build is)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from toolkit import recipe as recipes
from toolkit.engine.digests import sha256_path
from toolkit.engine.workers import Tick, processors, run_tasks
from toolkit.errors import BundleError, RecipeError

MANIFEST = "engine.json"
RECIPE = "recipe.yaml"
LLM_ARGS = "llm_args.yaml"
CHECKPOINT = "checkpoint"
SCHEMA_VERSION = 1
SEAL = "manifest_sha256"


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

    @classmethod
    def open_for(cls, recipe: recipes.Recipe) -> Bundle:
        """The bundle at ``recipe.engine.output``; raises ``BundleError`` if it was built from other settings."""
        bundle = cls.open(recipe.engine.output)
        asked, built = recipe.absolute().model_dump(), bundle.recipe.model_dump()
        for section in ("checkpoint", "target", "engine"):
            for key in asked[section]:
                if asked[section][key] != built[section][key] and (section, key) != ("engine", "output"):
                    raise BundleError(
                        f"it was built with another {section}.{key} than the recipe's",
                        where=str(bundle.folder),
                        hint="Type: trtkit engine RECIPE, with the same --set",
                    )
        return bundle

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

    def check(self, progress: Tick = lambda done: None) -> None:
        """Read every file and compare its SHA-256 with the manifest's; needs nothing but the bundle.

        ``progress`` gets the bytes read since its last call. Raises ``BundleError`` naming a file that differs or is
        extra, or the manifest where it is not as the build left it.
        """
        if extra := files_in(self.folder) - set(self.manifest["files"]) - {MANIFEST}:
            raise BundleError(f"{min(extra)} was not built", where=str(self.folder), hint=_rebuild(self.folder))
        self.check_files(set(self.manifest["files"]), progress)

    def check_files(self, names: set[str], progress: Tick = lambda done: None) -> None:
        """As ``check``, of the manifest and the files ``names``."""
        if SEAL in self.manifest and self.manifest != sealed(self.manifest):
            raise BundleError(f"{MANIFEST} is not what was built", where=str(self.folder), hint=_rebuild(self.folder))
        tasks = [partial(self._check_file, name) for name in self.manifest["files"] if name in names]
        run_tasks(tasks, processors(), lambda _: None, progress)

    def _check_file(self, name: str, tick: Tick) -> None:
        if sha256_path(self.folder / name, tick) != self.manifest["files"][name]["sha256"]:
            raise BundleError(f"{name} is not what was built", where=str(self.folder), hint=_rebuild(self.folder))

    @property
    def nbytes(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry["size"] for entry in self.manifest["files"].values())

    @property
    def touched(self) -> set[str]:
        """Files that may not be as they were built: all but the shards that were not written since."""
        files = self.manifest["files"].items()
        return {name for name, entry in files if (self.folder / name).stat().st_mtime_ns != entry.get("mtime_ns")}


class _File(BaseModel):
    size: int
    sha256: str


class _Manifest(BaseModel):
    """What must hold of a manifest before anything in it is believed."""

    schema_version: int
    identity: str
    weights: str
    files: dict[str, _File]
    source: dict[str, Any]
    verified: dict[str, int]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished bundle."""
    path = folder / MANIFEST
    if not path.is_file():
        what = "the bundle is unfinished" if folder.is_dir() else "there is no engine bundle"
        raise BundleError(what, where=str(folder), hint="Type: trtkit engine RECIPE")
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        version = manifest.get("schema_version")
        if version == SCHEMA_VERSION:
            _Manifest.model_validate(manifest)
    except (ValueError, ValidationError, RecursionError, AttributeError):
        raise BundleError("the manifest is damaged", where=str(path), hint=_rebuild(folder)) from None
    if version != SCHEMA_VERSION:
        what = f"the manifest has schema {version}, not {SCHEMA_VERSION}"
        raise BundleError(what, where=str(path), hint=_rebuild(folder))
    return manifest


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """``manifest`` with the SHA-256 of all else in it, which shows a change by hand."""
    content = {key: value for key, value in manifest.items() if key != SEAL}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return {**content, SEAL: hashlib.sha256(canonical.encode()).hexdigest()}


def files_in(folder: Path) -> set[str]:
    """Names of all files below ``folder``, with forward slashes."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _rebuild(folder: Path) -> str:
    return f"Delete {folder} and type: trtkit engine RECIPE"
