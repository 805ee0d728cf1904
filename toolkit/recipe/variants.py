"""The variants of a recipe's bench section, each as a recipe of its own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from toolkit.errors import RecipeError
from toolkit.recipe.explain import explain
from toolkit.recipe.load import apply
from toolkit.recipe.parse import parse
from toolkit.recipe.schema import Recipe
from toolkit.recipe.sweep import VariantSection

DEFAULT = "default"
"""The one variant of a recipe that names none."""
OUTPUTS = (("engine", "output"), ("serve", "repository"))
SECTIONS = ("checkpoint", "target", "engine", "serve")


def variants_of(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe of each variant by name, in the recipe's order; the recipe itself where it names none.

    Raises ``RecipeError`` for a name that stands twice, a key that is not of ``SECTIONS``, values that the schema does
    not take, and two variants with one bundle or repository.
    """
    sections = recipe.bench.variants
    if not sections:
        return {DEFAULT: recipe}
    found: dict[str, Recipe] = {}
    for section in sections:
        if section.name in found:
            raise RecipeError(f"the variant {section.name!r} stands twice", where="bench.variants", hint="Rename one")
        found[section.name] = _resolve(recipe, section)
    _check_apart(found)
    return found


def _resolve(recipe: Recipe, variant: VariantSection) -> Recipe:
    data = recipe.to_dict("python")
    del data["bench"]["variants"]
    values = [_value(variant, key, value) for key, value in variant.set.items()]
    apply(data, values)
    places = {keys: place for keys, _, place in values}
    for section, key in OUTPUTS:
        if (section, key) not in places:
            path: Path = data[section][key]
            data[section][key] = path.with_name(f"{path.name}-{variant.name}")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise explain(error, {}, places, f"bench.variants, {variant.name}") from None


def _value(variant: VariantSection, key: str, value: Any) -> tuple[tuple[str, ...], Any, str]:
    """Key path, value and place of one setting; text below engine.llm_args gets YAML's types, as at its own place."""
    place, keys = f"bench.variants, {variant.name}: {key}", tuple(key.split("."))
    if keys[0] not in SECTIONS or len(keys) < 2 or not all(keys):
        hint = f"A variant sets keys of {', '.join(SECTIONS)}, for example engine.precision"
        raise RecipeError("not a key that a variant can set", where=place, hint=hint)
    if isinstance(value, str):
        with suppress(yaml.YAMLError):
            value = parse(value, keys)[1]
    return keys, value, place


def _check_apart(found: dict[str, Recipe]) -> None:
    taken: dict[Path, str] = {}
    for name, recipe in found.items():
        for path in (recipe.engine.output, recipe.serve.repository):
            if path in taken:
                what = f"the variants {taken[path]} and {name} would both be in {path}"
                raise RecipeError(what, where="bench.variants", hint="Give each an engine.output of its own")
            taken[path] = name
