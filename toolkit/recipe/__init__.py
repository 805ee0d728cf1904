"""Recipes: one strict YAML file a deployment. The only package that reads recipe YAML.

Paths that a recipe file gives as inputs are found from that file's folder; outputs, and whatever ``--set`` gives, from
the current folder.
"""

from __future__ import annotations

import json

from toolkit.recipe.load import load
from toolkit.recipe.schema import (
    PROFILED,
    BenchSection,
    CheckpointSection,
    EngineSection,
    ParallelSection,
    Recipe,
    ServeSection,
    TargetSection,
)
from toolkit.recipe.sweep import RunnerKind, SloSection, Strategy, VariantSection
from toolkit.recipe.variants import DEFAULT, variants_of

__all__ = [
    "DEFAULT",
    "PROFILED",
    "BenchSection",
    "CheckpointSection",
    "EngineSection",
    "ParallelSection",
    "Recipe",
    "RunnerKind",
    "ServeSection",
    "SloSection",
    "Strategy",
    "TargetSection",
    "VariantSection",
    "load",
    "schema_text",
    "variants_of",
]


def schema_text() -> str:
    """The JSON schema of a recipe file, as ``recipes/schema.json`` holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"
