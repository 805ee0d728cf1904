"""From what a person names, a folder or ``hub:owner/name[@revision]``, to its inspection."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.remote import read_census
from toolkit.checkpoint.scales import read_scalars
from toolkit.checkpoint.source import Checkpoint, reading
from toolkit.errors import CheckpointError
from toolkit.inspection.inspection import Inspection, inspect, with_values
from toolkit.inspection.values import Progress, inspect_values
from toolkit.resources import recipes_dir

HUB = "hub:"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@.+)?")
_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+(/[\w.-]+)?)(@(?P<revision>.+))?")


def inspect_source(name: str, *, deep: bool = False, progress: Progress | None = None) -> Inspection:
    """``deep`` also reads the packed weights and block scales, of a folder only.

    Of a folder headers and scalar scales are read, of a Hub repository headers. Raises ``CheckpointError`` if ``name``
    is neither, or if what is there cannot be read.
    """
    if name.startswith(HUB):
        return _inspect_hub(name, deep=deep)
    folder = Path(name)
    with reading(folder):
        # is_dir hides a circle of links, which stat names
        if not folder.is_dir() and (not folder.is_symlink() or not stat.S_ISDIR(folder.stat().st_mode)):
            raise _no_folder(name)
    with Checkpoint.open(folder) as checkpoint:
        found = inspect(take_census(checkpoint), read_scalars(checkpoint))
        return with_values(found, inspect_values(checkpoint, found.modules, progress)) if deep else found


def _inspect_hub(name: str, *, deep: bool) -> Inspection:
    match = _HUB_NAME.fullmatch(name.removeprefix(HUB))
    if match is None:
        raise CheckpointError(
            "names no repository", where=name, hint=f"Type: trtkit inspect {HUB}owner/name[@revision]"
        )
    repo, revision = match["repo"], match["revision"]
    if deep:
        at = f" --revision {revision}" if revision else ""
        hint = f"Type: hf download {repo}{at} --local-dir DIR, then: trtkit inspect --deep DIR"
        raise CheckpointError("--deep reads the weights, which are not downloaded", where=name, hint=hint)
    return inspect(read_census(repo, revision), None)


def _no_folder(name: str) -> CheckpointError:
    """Says what was probably meant."""
    path, recipes = Path(name), recipes_dir()
    if path.suffix in (".yaml", ".yml") or recipes / f"{name}.yaml" in recipes.glob("*/*.yaml"):
        return CheckpointError("is a recipe, not a checkpoint", where=name, hint=f"Type: trtkit plan {name}")
    if path.is_file():
        hint = f"Type: trtkit inspect {path.parent}"
        return CheckpointError("is a file, not a checkpoint's folder", where=name, hint=hint)
    if _REPOSITORY.fullmatch(name):
        hint = f"On the Hugging Face Hub? Type: trtkit inspect {HUB}{name}"
        return CheckpointError("no such folder", where=name, hint=hint)
    return CheckpointError("no such folder", where=name, hint=f"Type a folder, or {HUB}owner/name")
