"""A recipe that does not fit the schema, as one line: what, where it stands, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import get_args

from pydantic import BaseModel, ValidationError

from toolkit.errors import RecipeError
from toolkit.recipe.schema import Recipe

Places = Mapping[tuple[str, ...], str]
SHOWN = 60


def explain(error: ValidationError, lines: Places, overrides: Places, file: str) -> RecipeError:
    """``lines`` has the place of each key of the file, ``overrides`` that of each key given by ``--set``, in order."""
    # a misspelt required key is both unknown and missing; the misspelling is what to say
    first = min(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    keys = tuple(str(part) for part in first["loc"])
    where = _place(keys, lines, overrides) or file
    dotted = ".".join(keys)
    if first["type"] == "extra_forbidden":
        known = list(_section(keys[:-1]).model_fields)
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}"
        return RecipeError(f"unknown key {shorten(dotted)!r}", where=where, hint=hint)
    if first["type"] == "missing":
        return RecipeError(f"missing key {dotted!r}", where=where, hint="Type: trtkit recipes show tiny-gpt-oss/cpu")
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] == "value_error" else f", not {shorten(repr(first.get('input')))}"
    meaning = _section(keys[:-1]).model_fields[keys[-1]].description if "pattern" in first["type"] else None
    said = f"{message[0].lower()}{message[1:]}{shown}"
    # what the recipe as a whole says wrongly has no key of its own
    return RecipeError(f"{dotted}: {said}" if dotted else said, where=where, hint=meaning)


def shorten(text: str) -> str:
    """``text`` on one line, cut if it would drown the message."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _place(keys: tuple[str, ...], lines: Places, overrides: Places) -> str | None:
    """An override beats the line it replaces; a section that does not hold together is laid to its last override."""
    for depth in range(len(keys), 0, -1):
        prefix = keys[:depth]
        if prefix in overrides:
            return overrides[prefix]
        inside = [place for path, place in overrides.items() if path[:depth] == prefix]
        if inside and (depth == len(keys) or prefix not in lines):
            return inside[-1]
        if prefix in lines:
            return lines[prefix]
    return None


def _section(keys: tuple[str, ...]) -> type[BaseModel]:
    """The model at a key path; the number of a list's item is passed over."""
    model: type[BaseModel] = Recipe
    for key in keys:
        if key.isdecimal():
            continue
        annotation = model.model_fields[key].annotation
        found = [inner for inner in (annotation, *get_args(annotation)) if isinstance(inner, type)]
        model = next(inner for inner in found if issubclass(inner, BaseModel))
    return model
