"""The bundles of a sweep's variants: open them, or build what is missing first."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from toolkit.engine.build import build
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError, PlanError
from toolkit.plan.source import download_of, open_planned
from toolkit.recipe import DEFAULT, Recipe

Progress = Callable[[int, int], None]


def open_bundles(variants: Mapping[str, Recipe]) -> dict[str, Bundle]:
    """Each variant's bundle, read to its last byte: the records name what was measured by the hashes in its manifest.

    Raises ``BundleError`` for a bundle that is missing, or of other settings or bytes than were built.
    """
    bundles = {}
    for name, recipe in variants.items():
        try:
            bundles[name] = Bundle.open_for(recipe)
        except BundleError as error:
            if name == DEFAULT:
                raise
            raise BundleError(error.what, where=error.where, hint="Type: trtkit bench run RECIPE --build") from None
        bundles[name].check()
    return bundles


def build_bundles(variants: Mapping[str, Recipe], progress: Progress = lambda done, total: None) -> None:
    """Build each variant's bundle that is not as its recipe says; nothing is downloaded.

    Raises ``PlanError`` where weights are not here or a target cannot load them, and what ``build`` raises.
    """
    for recipe in variants.values():
        if download_of(recipe) is not None:
            hint = "Type: trtkit engine RECIPE --fetch"
            raise PlanError("the weights are not here", where=str(recipe.checkpoint.repo), hint=hint)
        source, plan = open_planned(recipe)
        with source:
            build(recipe, plan, source, progress)
