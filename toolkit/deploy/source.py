"""From a recipe to its ``Deployment``: by the bundle that it built, or by its plan where none is built yet."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.deploy.deployment import DEFAULTS, Built, Deployment, Options, deployment
from toolkit.deploy.startup import require_tokenizer
from toolkit.engine.bundle import Bundle
from toolkit.errors import DeployError
from toolkit.plan.source import plan_recipe, refuse_refused
from toolkit.plan.types import Plan
from toolkit.recipe import CheckpointSection, Recipe


def of_bundle(recipe: Recipe, options: Options = DEFAULTS) -> Deployment:
    """The deployment of the bundle at ``engine.output``.

    Raises ``BundleError`` for one that is missing, damaged or built from other settings, ``DeployError`` for one that
    was built for another target or lacks a tokenizer, and what ``deployment`` raises.
    """
    bundle = Bundle.open(recipe.engine.output)
    _check_target(recipe, bundle)
    bundle = Bundle.open_for(recipe)
    require_tokenizer(bundle)
    folder, identity = str(bundle.folder.absolute()), bundle.manifest["identity"]
    built = Built(folder, bundle.nbytes, identity, _environment(recipe, bundle))
    return deployment(recipe, built, options)


def of_plan(recipe: Recipe, options: Options = DEFAULTS) -> Deployment:
    """The deployment of a bundle that is not here: sizes are the plan's. Raises ``PlanError`` for what is refused."""
    plan = plan_recipe(recipe)
    refuse_refused(plan)
    return deployment(recipe, planned(recipe, plan), options)


def planned(recipe: Recipe, plan: Plan) -> Built:
    env = plan.launch.env if plan.launch else {}
    return Built(str(recipe.engine.output.absolute()), plan.output_bytes, env=env)


def _environment(recipe: Recipe, bundle: Bundle) -> Mapping[str, str]:
    """What the tuned profile sets, which stands in no file of the bundle: planned again from the bundle's headers."""
    if recipe.engine.profile is None:
        return {}
    own = recipe.model_copy(update={"checkpoint": CheckpointSection(path=bundle.checkpoint_dir)})
    plan = plan_recipe(own)
    return plan.launch.env if plan.launch else {}


def _check_target(recipe: Recipe, bundle: Bundle) -> None:
    """In the recipe's words what ``Bundle.open_for`` would only call another setting."""
    asked, built = recipe.target, bundle.recipe.target
    for key, found, wanted in (
        ("runtime", built.runtime, asked.runtime),
        ("release", built.release, asked.release),
        ("gpu", built.gpu, asked.gpu),
    ):
        if found != wanted:
            hint = f"Build it for this one: trtkit engine RECIPE --set target.{key}={wanted}"
            what = f"the bundle was built for {key} {found}, and the recipe is for {wanted}"
            raise DeployError(what, where=str(bundle.folder), hint=hint)
