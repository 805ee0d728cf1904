"""The command lines of a sweep that has not been run."""

from __future__ import annotations

from pathlib import Path

from toolkit.bench.runners.trtllm_bench import ARGS_FILE, point_argv
from toolkit.bench.sweep import Outline
from toolkit.errors import PlanError
from toolkit.plan.source import plan_recipe
from toolkit.recipe import Recipe
from toolkit.trtllm.commands import Command

FOLDER = Path("RUN")
"""Stands for the folder of a trial."""


def command_lines(recipe: Recipe, planned: Outline) -> list[Command]:
    """One for each point, of the runner that has any: trtllm-bench. Reads no weights and needs no bundle.

    Raises ``PlanError`` for a target that cannot load the checkpoint, that has no LLM arguments, or where trtllm-bench
    would not take a point.
    """
    if recipe.bench.runner != "trtllm-bench":
        return []
    args = {}
    for name, variant in planned.variants.items():
        plan = plan_recipe(variant)
        if plan.refusals or plan.llm_args is None:
            what = plan.refusals[0].what if plan.refusals else "trtllm-bench is run on the PyTorch backend only"
            raise PlanError(what, where=f"variant {name}", hint="Type: trtkit plan RECIPE")
        args[name] = plan.llm_args
    return [
        Command(
            point_argv(planned.variants[one.variant], args[one.variant], FOLDER / ARGS_FILE, one, FOLDER / one.point_id)
        )
        for one in planned.points
    ]
