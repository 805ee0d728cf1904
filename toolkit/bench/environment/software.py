"""Versions of what runs on GPUs and of trtkit's own code, read without importing any of it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.engine.runtime.cpu.blas import can_set_threads

SOURCES = (".py", ".c", ".h")
CUDA_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")
NCCL_PACKAGES = ("nvidia-nccl-cu13", "nvidia-nccl-cu12")


def gpu_versions(environ: Mapping[str, str]) -> dict[str, str | None]:
    """PyTorch, CUDA, NCCL and the commit of TensorRT-LLM.

    Where CUDA and NCCL are no Python packages, NVIDIA's images say their versions in CUDA_VERSION and NCCL_VERSION,
    and the commit in TRT_LLM_GIT_COMMIT.
    """
    return {
        "torch": _installed(("torch",)),
        "cuda": _installed(CUDA_PACKAGES) or environ.get("CUDA_VERSION"),
        "nccl": _installed(NCCL_PACKAGES) or environ.get("NCCL_VERSION"),
        "tensorrt-llm commit": environ.get("TRT_LLM_GIT_COMMIT"),
    }


def _installed(packages: Iterable[str]) -> str | None:
    """The version of the first of ``packages`` that is installed."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def describe_blas() -> str:
    show: Any = np.show_config  # numpy's stubs do not know the mode
    blas = show(mode="dicts")["Build Dependencies"]["blas"]
    # a recipe's engine.threads means nothing to another BLAS
    return f"{blas['name']} {blas['version']}{'' if can_set_threads() else ', threads by its own environment'}"


def source_digest(parts: Iterable[Path]) -> str:
    """Twelve digits over the names and bytes of the Python and C files that ``parts`` are or hold."""
    digester = hashlib.sha256()
    for part in parts:
        for file in [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.suffix in SOURCES):
            data = file.read_bytes()
            digester.update(f"{file.relative_to(part.parent).as_posix()}\0{len(data)}\0".encode() + data)
    return digester.hexdigest()[:12]


def git_commit(checkout: Path) -> str | None:
    """The commit of trtkit's own checkout; None for an installed package."""
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
