"""Versions that a bundle or a record names."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "pydantic", "tokenizers", "tritonclient", "nvidia-pytriton", "tensorrt-llm", "tensorrt")


def versions() -> dict[str, str | None]:
    """Python, trtkit and the packages that matter; None for one that is not installed."""
    from toolkit import __version__

    found: dict[str, str | None] = {"python": platform.python_version(), "trtkit": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
