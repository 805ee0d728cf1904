"""What an accepted plan says for itself: why, by which facts, with which notes, and what settles the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolkit.plan import memory, rewrite
from toolkit.plan.cite import cite, evidence, note, noted
from toolkit.plan.declared import agrees, algo_of, is_unread, said
from toolkit.plan.jsonfiles import JsonFiles
from toolkit.plan.model import Model
from toolkit.plan.parallel import Rules, channel_notes
from toolkit.plan.refusals import Choice
from toolkit.plan.types import Certainty, Evidence, Memory, Note
from toolkit.recipe import Recipe
from toolkit.trtllm import Targets, load_targets

AS_IT_IS = "Every tensor already has the layout that the loader builds."
ORIGINAL = (
    "The transcode is not exact. `trtkit plan --deep` measures its error on your copy; openai/gpt-oss-* is MXFP4 from "
    "the start and loads there unchanged"
)


def before(choice: Choice) -> tuple[Note, ...]:
    """What else stands in the way of a plan that memory refuses."""
    first = choice.instead_of
    return (*((Note(first.what, first.evidence.source),) if first else ()), *choice.notes)


def ways_to_the_own_format(choice: Choice) -> tuple[str, ...]:
    """Where the format loads that was tried first."""
    ways = choice.instead_of.ways_out if choice.instead_of else ()
    return tuple(way for way in ways if "target.weights=" not in way)


def why(choice: Choice, reasons: Mapping[str, str], files: JsonFiles) -> str:
    """The verdict's reason in one sentence."""
    if choice.instead_of is not None:
        return f"{choice.instead_of.what[0].upper()}{choice.instead_of.what[1:]}, but there is one for MXFP4."
    changes = [text for key, text in reasons.items() if key != "same"]
    if changes:
        return changes[0]
    return f"The release needs {' and '.join(files.files)} rewritten; the weights stay." if files.files else AS_IT_IS


def facts(recipe: Recipe, model: Model, choice: Choice, targets: Targets) -> tuple[Evidence, ...]:
    """The facts that decided, the deciding one first."""
    found = [choice.instead_of.evidence] if choice.instead_of else []
    release = targets.release(str(recipe.target.release))
    if model.family.fused_experts and choice.layout.ffn == "nvfp4":
        found.append(evidence(targets.gpt_oss_nvfp4.facts["exclude-override"]))
        found.append(evidence(release.fact("gpt-oss-nvfp4")))
    if (
        algo_of(choice.layout) in ("NVFP4", "FP8")
        and choice.layout == model.stored
        and is_unread(model.census, release)
    ):
        found.append(
            cite("inline-recognised") if release.inline_quant_config else evidence(release.fact("quant-config"))
        )
    if recipe.target.backend == "tensorrt":
        found += [evidence(release.fact("tensorrt-backend")), cite("compiled-nvfp4")]
    return tuple(dict.fromkeys((*found, *choice.evidence)))


def certainty(recipe: Recipe, model: Model, choice: Choice, targets: Targets) -> Certainty:
    """How sure it is that the release has the loader: gpt-oss in NVFP4 came with a pull request, not with a release."""
    if not (model.family.fused_experts and choice.layout.ffn == "nvfp4"):
        return "verified"
    words: dict[str, Certainty] = {"yes": "verified", "expected": "inferred"}
    return words.get(targets.release(str(recipe.target.release)).gpt_oss_nvfp4, "unverified")


def notes(recipe: Recipe, model: Model, choice: Choice, held: Memory) -> list[Note]:
    """What a user should know before trusting the plan."""
    found = list(choice.notes)
    if rewrite.is_lossy(model.stored, choice.layout):
        found.append(note("mxfp4-scales", ORIGINAL))
    if rewrite.is_rounded(model.stored, choice.layout):
        found.append(note("bf16-rounding"))
    if model.stored.ffn == "mxfp4" and choice.layout.ffn == "nvfp4":
        found.append(note("mxfp4-to-nvfp4"))
    if algo_of(model.stored) is not None and not agrees(model.census, model.stored):
        words = f"{said(model.census) or 'nothing'}, the tensors are {algo_of(model.stored)}: the JSON is written anew"
        found.append(note("quant-algo", f"The checkpoint's quant_algo says {words}"))
    if choice.layout.ffn == "bf16" and model.stored.ffn == "bf16":
        found.append(Note("The weights are BF16: quantise them with ModelOpt to serve FP4"))
    parallel = recipe.target.parallel
    rules = Rules(model.geometry, choice.layout, pipeline=model.family.pipeline)
    found += channel_notes(parallel, rules, choice.kernel.backend if choice.kernel else None)
    found += _kv_notes(recipe, model, held)
    return [*found, *memory.memory_notes(recipe, held, model.geometry, choice.layout.ffn)]


def _kv_notes(recipe: Recipe, model: Model, held: Memory) -> Iterator[Note]:
    """What is doubtful about the KV cache's dtype."""
    if held.kv_dtype in ("fp8", "nvfp4"):
        target, targets = recipe.target, load_targets()
        sm, release = targets.gpu(str(target.gpu)).sm, str(target.release)
        kernel = targets.kv_kernel(model.family.name, held.kv_dtype, sm, release)
        if kernel is not None and kernel.fact.status == "unverified":
            yield noted(kernel.fact)


def confirm(recipe: Recipe, model: Model, choice: Choice, targets: Targets) -> str | None:
    """The command that settles, inside the container, what is not known from outside."""
    release = targets.release(str(recipe.target.release))
    is_asked = model.family.fused_experts and choice.layout.ffn == "nvfp4"
    return release.confirm if is_asked else None
