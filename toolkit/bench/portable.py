"""Recipe and command line as records hold them: without the folders of one machine."""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toolkit.recipe import Recipe


def portable_path(path: Path) -> str:
    """From the current folder where it lies inside, else its last name alone."""
    # lexically: a link inside stands for what it points to
    absolute = Path(os.path.normpath(path.absolute()))
    inside = absolute.is_relative_to(Path.cwd())
    return absolute.relative_to(Path.cwd()).as_posix() if inside else absolute.name


def portable_recipe(recipe: Recipe) -> dict[str, Any]:
    """The resolved recipe as JSON values."""
    values: dict[str, Any] = _portable(recipe.model_dump())
    return values


def portable_argv(argv: Iterable[str]) -> tuple[str, ...]:
    """With each absolute path replaced, whether it is a word or stands behind the ``=`` of one."""
    return tuple(map(_portable_word, argv))


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(inner) for inner in value]
    return portable_path(value) if isinstance(value, Path) else value


def _portable_word(word: str) -> str:
    key, equals, value = word.partition("=")
    if Path(word).is_absolute():
        return portable_path(Path(word))
    return f"{key}={portable_path(Path(value))}" if equals and Path(value).is_absolute() else word
