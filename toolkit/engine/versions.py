"""Versions, and the codecs' backend, that a bundle or a record names."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from toolkit.numerics import backend

PACKAGES = ("numpy", "pydantic", "tokenizers", "tritonclient", "nvidia-pytriton", "tensorrt-llm", "tensorrt")


def versions() -> dict[str, str | None]:
    """Python, trtkit, what runs its codecs, and the packages that matter; None for one that is not installed."""
    from toolkit import __version__

    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "trtkit": __version__,
        "codecs": backend.name(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
