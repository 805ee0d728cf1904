"""The backends that a recipe's own LLM arguments name, laid to what the target has kernels for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.errors import PlanError
from toolkit.plan.cite import evidence
from toolkit.plan.model import Model
from toolkit.plan.refusals import Choice
from toolkit.plan.types import Note
from toolkit.recipe import Recipe
from toolkit.trtllm import Kernel, Targets, arguments

AUTO = "AUTO"


def follow(recipe: Recipe, model: Model, choice: Choice, targets: Targets) -> Choice:
    """``choice`` with the MoE backend of ``engine.llm_args``, and a note on what trtkit knows nothing of.

    Raises ``PlanError`` for an argument that the release does not know, and for a backend without a kernel there.
    """
    own = recipe.engine.llm_args
    arguments.check_llm_args(str(recipe.target.release), own, "engine.llm_args")
    choice = _with_attention(recipe, model, choice, targets)
    section = own.get("moe_config", {})
    if choice.kernel is None or not model.geometry.experts or (isinstance(section, Mapping) and not section):
        return choice
    name = section.get("backend", AUTO) if isinstance(section, Mapping) else None
    if name in (AUTO, choice.kernel.backend):
        return choice
    return _replaced(choice, choice.kernel, _kernel(recipe, model, choice, targets, name))


def _kernel(recipe: Recipe, model: Model, choice: Choice, targets: Targets, name: Any) -> Kernel:
    family, fmt, sm = model.family.name, choice.layout.ffn, targets.gpu(str(recipe.target.gpu)).sm
    there = targets.moe_kernels(family, fmt, sm, str(recipe.target.release), opt_in=True)
    found = next((kernel for kernel in there if kernel.backend == name), None)
    if found is not None:
        return found
    names = " or ".join(kernel.backend for kernel in there)
    raise PlanError(
        f"MoE backend {name} has no kernel for {fmt.upper()} {family} on {recipe.target.gpu} (SM{sm})",
        where="engine.llm_args.moe_config.backend",
        hint=f"Leave it out, or write {names} ({there[0].fact.source})",
    )


def _replaced(choice: Choice, before: Kernel, kernel: Kernel) -> Choice:
    contested = kernel.status == "contested"
    said = Note(f"engine.llm_args takes MoE backend {kernel.backend} instead of {before.backend}", kernel.fact.source)
    facts = tuple(evidence(kernel.fact) if fact.source == before.fact.source else fact for fact in choice.evidence)
    doubt = (Note(kernel.fact.statement, kernel.fact.source),) if contested else ()
    return replace(
        choice,
        kernel=kernel,
        evidence=facts,
        notes=(*choice.notes, said, *doubt),
        contested=choice.contested or contested,
    )


def _with_attention(recipe: Recipe, model: Model, choice: Choice, targets: Targets) -> Choice:
    own, sm = recipe.engine.llm_args, targets.gpu(str(recipe.target.gpu)).sm
    known = targets.attention_kernel(model.family.name, sm, str(recipe.target.release))
    if known is None or (name := own.get("attn_backend", known.backend)) == known.backend:
        return choice
    if "sinks" in known.algo:
        raise PlanError(
            f"{model.family.name} needs {known.algo}, which only {known.backend} has, not {name}",
            where="engine.llm_args.attn_backend",
            hint=f"Leave it out ({known.fact.source})",
        )
    what = f"engine.llm_args takes attn_backend {name}: trtkit knows {known.backend} only"
    return replace(choice, notes=(*choice.notes, Note(what, known.fact.source)))
