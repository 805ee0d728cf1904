"""Read recipe YAML and apply overrides. An error names the file and line, or the override."""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from toolkit.errors import RecipeError
from toolkit.recipe.explain import explain, shorten
from toolkit.recipe.parse import key_lines, not_yaml, parse, read_text
from toolkit.recipe.scalars import NotARecipe
from toolkit.recipe.schema import Recipe

INPUT_PATHS = (
    ("checkpoint", "path"),
    ("checkpoint", "tokenizer"),
    ("checkpoint", "input_scales"),
    ("checkpoint", "bf16"),
    ("bench", "prompts"),
    ("bench", "workload", "trace"),
)
PATH, REPO = ("checkpoint", "path"), ("checkpoint", "repo")
SOURCE_KEYS = ("path", "repo", "revision", "tokenizer", "input_scales", "bf16")


def load(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read the recipe at ``path`` and apply ``a.b=value`` overrides (values are YAML).

    A checkpoint.path or checkpoint.repo among the overrides replaces the file's source as a whole: its revision,
    tokenizer and helper checkpoints go, too. Raises ``RecipeError`` with file and line for anything that does not fit
    the schema.
    """
    text = read_text(path)
    try:
        node, data = parse(text)
    except yaml.YAMLError as error:
        raise not_yaml(error, text, path) from None
    if not isinstance(data, dict):
        hint = "Type: trtkit recipes show tiny-gpt-oss/cpu"
        raise RecipeError("a recipe is a mapping of sections", where=str(path), hint=hint)
    lines = key_lines(node, path)
    _anchor_inputs(data, path.parent)
    values = [_split(override) for override in overrides]
    apply(data, values)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        places = {keys: place for keys, _, place in values}
        raise explain(error, lines, places, str(path)) from None


def _anchor_inputs(data: dict[str, Any], folder: Path) -> None:
    """Inputs count from the recipe's folder."""
    for *sections, key in INPUT_PATHS:
        values: Any = data
        for section in sections:
            values = values.get(section) if isinstance(values, dict) else None
        _anchor(values, key, folder)
        for settings in _variant_settings(data):
            _anchor(settings, ".".join((*sections, key)), folder)


def _anchor(values: Any, key: str, folder: Path) -> None:
    """What starts at home, or is no path, is left to the schema."""
    text = values.get(key) if isinstance(values, dict) else None
    if isinstance(text, str) and not text.startswith("~") and "\0" not in text:
        # normalised lexically, so that a recipe in a linked folder keeps pointing beside the link
        values[key] = os.path.normpath(folder / text)


def _variant_settings(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The `set` of each of the recipe's variants, where it is a mapping."""
    bench = data.get("bench")
    variants = bench.get("variants") if isinstance(bench, dict) else None
    listed = [one.get("set") for one in variants if isinstance(one, dict)] if isinstance(variants, list) else []
    return [settings for settings in listed if isinstance(settings, dict)]


def _split(override: str) -> tuple[tuple[str, ...], Any, str]:
    """Key path, value and place of an override."""
    place = shorten(f"--set {override}")
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.split("."))
    if not equals or not all(keys):
        raise RecipeError("an override is key=value", where=place, hint="For example: --set target.gpu=b200")
    try:
        _, value = parse(text, keys)
    except NotARecipe as error:
        raise RecipeError(error.what, where=place, hint=error.hint) from None
    except yaml.YAMLError:
        value = text
    return keys, value, place


def apply(data: dict[str, Any], values: Iterable[tuple[tuple[str, ...], Any, str]]) -> None:
    """Set key paths of a recipe's data to values; the place of each is where it was given, for an error.

    A new source replaces the old one as a whole.
    """
    values = list(values)
    if isinstance(data.get("checkpoint"), dict) and any(keys in (PATH, REPO) for keys, _, _ in values):
        for key in SOURCE_KEYS:
            data["checkpoint"].pop(key, None)
    for keys, value, place in values:
        _set(data, keys, value, place)


def _set(data: dict[str, Any], keys: tuple[str, ...], value: Any, place: str) -> None:
    section = data
    for depth, key in enumerate(keys[:-1], start=1):
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            hint = f"Type: --set {shorten('.'.join(keys[:depth]))}=VALUE"
            raise RecipeError(f"{shorten(key)!r} is a value, not a section", where=place, hint=hint)
        section = inner
    section[keys[-1]] = value
    if keys == PATH:
        section.pop("repo", None)
        section.pop("revision", None)
    elif keys == REPO:
        section.pop("path", None)
