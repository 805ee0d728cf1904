"""What this machine has of what trtkit can use."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.engine.versions import versions
from toolkit.errors import TrtkitError
from toolkit.serving import triton


@dataclass(frozen=True, slots=True)
class Finding:
    """``detail`` says what was found, or what to type to get it."""

    name: str
    usable: bool
    detail: str


def examine() -> list[Finding]:
    """Look at the interpreter, the CPU runtime, Triton, the report extra and TensorRT-LLM; starts nothing."""
    found = versions()
    return [
        Finding("python", True, f"{found['python']} on {platform.system()} {platform.machine()}"),
        Finding("cpu", True, f"CPU runtime with NumPy {found['numpy']}, {os.cpu_count()} cores; codecs: NumPy"),
        _try("triton", lambda: f"nvidia-pytriton {found['nvidia-pytriton']} at {triton.find().folder}"),
        _extra("report", ("altair", "vl_convert")),
        Finding(
            "gpu",
            shutil.which("nvidia-smi") is not None,
            "nvidia-smi is on PATH" if shutil.which("nvidia-smi") else "no nvidia-smi on PATH",
        ),
        Finding(
            "tensorrt",
            found["tensorrt-llm"] is not None,
            f"tensorrt-llm {found['tensorrt-llm']}" if found["tensorrt-llm"] else "comes with NVIDIA's containers",
        ),
    ]


def _try(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except TrtkitError as error:
        return Finding(name, False, str(error))


def _extra(name: str, packages: tuple[str, ...]) -> Finding:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    detail = f"missing {', '.join(missing)}. Type: pip install 'trtkit[{name}]'" if missing else ", ".join(packages)
    return Finding(name, not missing, detail)
