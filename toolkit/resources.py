"""Where ``recipes/`` and ``triton_repo/`` are: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def recipes_dir() -> Path:
    """The folder of the shipped recipes."""
    return _data("recipes")


def triton_repo_dir() -> Path:
    """The folder of the Triton model template."""
    return _data("triton_repo")


def checkout() -> Path | None:
    """The checkout that this package runs from, which images can be built from; None for an installed wheel."""
    return PACKAGE.parent if (PACKAGE.parent / "docker" / "cpu.Dockerfile").is_file() else None


def _data(name: str) -> Path:
    installed = PACKAGE / "data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name
