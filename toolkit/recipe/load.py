"""Read recipe YAML. An error names the file and line, and for a misspelt key the one that was probably meant."""

from __future__ import annotations

import difflib
import os.path
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from toolkit.errors import RecipeError
from toolkit.recipe.schema import Recipe

INPUT_PATHS = (("checkpoint", "path"), ("checkpoint", "tokenizer"), ("bench", "prompts"))


def load(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read the recipe at ``path`` and apply ``a.b=value`` overrides (values are YAML).

    Raises ``RecipeError`` with file and line for anything that does not fit the schema.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise RecipeError(f"cannot read it: {reason}", where=str(path), hint="Type: trtkit recipes ls") from None
    try:
        node = yaml.compose(text)
        data = _scalars(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        problem = getattr(error, "problem", None) or "not YAML"
        raise RecipeError(f"not YAML: {problem}", where=f"{path}:{line}") from None
    if not isinstance(data, dict):
        raise RecipeError("a recipe is a mapping of sections", where=str(path))
    _anchor_inputs(data, path.parent)
    sources = _key_lines(node, path)
    for override in overrides:
        _apply(data, override, sources)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise _explain(error, sources, path) from None


def _scalars(text: str) -> Any:
    """YAML with every scalar left as text: the schema knows the types, and release 1.10 must not become 1.1."""
    return _nulls(yaml.load(text, Loader=yaml.BaseLoader))


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_nulls(inner) for inner in value]
    return None if value in ("", "~", "null") else value


def _anchor_inputs(data: dict[str, Any], folder: Path) -> None:
    for section, key in INPUT_PATHS:
        values = data.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str):
            # normalised lexically, so that a recipe in a linked folder keeps pointing beside the link
            values[key] = os.path.normpath(folder / Path(values[key]).expanduser())


def _key_lines(node: yaml.Node | None, path: Path, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Where each key stands: dotted key path → ``file:line``."""
    lines: dict[tuple[str, ...], str] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*prefix, str(key.value))
            if here in lines:
                raise RecipeError(
                    f"{'.'.join(here)!r} stands twice", where=f"{path}:{key.start_mark.line + 1}", hint="Keep one"
                )
            lines[here] = f"{path}:{key.start_mark.line + 1}"
            lines |= _key_lines(value, path, here)
    return lines


def _apply(data: dict[str, Any], override: str, sources: dict[tuple[str, ...], str]) -> None:
    where = f"--set {override}"
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.split("."))
    if not equals or not all(keys):
        raise RecipeError("an override is key=value", where=where, hint="For example: --set target.gpu=b200")
    try:
        value = _scalars(text)
    except yaml.YAMLError:
        value = text
    section = data
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{key!r} is a value, not a section", where=where)
        section = inner
    section[keys[-1]] = value
    if keys == ("checkpoint", "path") and isinstance(data.get("checkpoint"), dict):
        # the new source replaces the old one as a whole
        data["checkpoint"].pop("repo", None)
        data["checkpoint"].pop("revision", None)
    elif keys == ("checkpoint", "repo") and isinstance(data.get("checkpoint"), dict):
        data["checkpoint"].pop("path", None)
    for depth in range(1, len(keys) + 1):
        sources.setdefault(keys[:depth], where)
    sources[keys] = where


def _explain(error: ValidationError, sources: Mapping[tuple[str, ...], str], path: Path) -> RecipeError:
    # a misspelt required key is both unknown and missing; the misspelling is what to say
    first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    keys = tuple(str(part) for part in first["loc"])
    where = next((sources[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in sources), str(path))
    dotted = ".".join(keys)
    if first["type"] == "extra_forbidden":
        known = _known_keys(keys[:-1])
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}"
        return RecipeError(f"unknown key {dotted!r}", where=where, hint=hint)
    if first["type"] == "missing":
        return RecipeError(f"missing key {dotted!r}", where=where, hint="Type: trtkit recipes show tiny-gpt-oss/cpu")
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", not {first.get('input')!r}"
    return RecipeError(f"{dotted}: {message[0].lower()}{message[1:]}{shown}", where=where)


def _known_keys(keys: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Recipe
    for key in keys:
        annotation = model.model_fields[key].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)
