"""Whether the installed release may run a bundle that was planned for another."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit.errors import EngineError
from toolkit.trtllm import load_targets


def check_release(planned: str, installed: str, folder: Path) -> None:
    """Raise EngineError unless both accept the same.

    Releases of one era do (``toolkit.trtllm``); one that is not listed does if it differs in no more than the patch.
    """
    targets = load_targets()
    releases = targets.releases
    known, wanted = releases.get(installed.partition("+")[0]), releases.get(planned)
    if planned == installed or (known and wanted and known.era == wanted.era):
        return
    if not (known and wanted) and _minor(planned) == _minor(installed):
        return
    hint = f"Run it where TensorRT-LLM is {planned}"
    if known:
        hint += f", or build it again: trtkit engine RECIPE --set target.release={known.name}"
    what = f"this bundle was planned for TensorRT-LLM {planned}, and {installed} is installed"
    raise EngineError(what, where=str(folder), hint=hint)


def _minor(version: str) -> str:
    match = re.match(r"\d+\.\d+", version)
    return match[0] if match else version
