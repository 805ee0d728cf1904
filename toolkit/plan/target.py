"""The plan for a TensorRT-LLM target: formats, changes, layout, memory, LLM arguments, command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toolkit.checkpoint.source import CONFIG, INDEX, QUANT_CONFIG
from toolkit.models.layout import Layout
from toolkit.models.sharding import Weights
from toolkit.plan import backend, compiled, launch, llm_args, memory, rewrite
from toolkit.plan.excludes import corrected
from toolkit.plan.jsonfiles import JsonFiles, rewritten
from toolkit.plan.model import Model
from toolkit.plan.parallel import Rules, refuse_layout, split
from toolkit.plan.refusals import GPT_OSS, Choice, Question, evidence
from toolkit.plan.repairs import check_taken
from toolkit.plan.types import Evidence, Memory, Note, Plan, Refusal, ShardPlan, Split
from toolkit.recipe import Recipe
from toolkit.trtllm import Targets, load_targets
from toolkit.trtllm.tuned import Tuned

UNSAID_EXCLUDES = ("*.mlp.gate", "lm_head")
"""What the loader itself takes for an NVFP4 checkpoint whose JSON has no list (``model_config.py``)."""
AS_IT_IS = "Every tensor already has the layout that the loader builds."
ORIGINAL = Note(
    "The transcode is not exact. `trtkit plan --deep` measures its error on your copy; openai/gpt-oss-* is MXFP4 "
    "from the start and loads there unchanged",
    "OCP Microscaling Formats 1.0: one power-of-two scale for 32 elements",
)
CAST = Note(
    "The cast is exact but for blocks whose scale is more than 2^17 below the tensor's largest; `trtkit plan --deep` "
    "counts them (none in gpt-oss-20b, about 1,200 of 3.58e9 in gpt-oss-120b)",
    "NVIDIA/Model-Optimizer #1372",
)
REPAIR_FIRST = Refusal(
    "the block scales must be repaired before they can be transcoded",
    ("Build it for a b200 with target.weights=nvfp4, then set checkpoint.path to that bundle's checkpoint folder",),
    Evidence(
        "ModelOpt 0.35.0 and 0.35.1 write block scales of fused experts along the wrong axis", "Model-Optimizer #384"
    ),
)
COMPILED = Note(
    "The TensorRT backend's NVFP4 path is reported broken ('Cannot determine size of FP4 data type')",
    "NVIDIA/Model-Optimizer #187",
)


def plan_target(recipe: Recipe, model: Model) -> Plan:
    """The whole plan; a refused one has the reasons and the legal layouts."""
    targets = load_targets()
    target = recipe.target
    gpu = targets.gpu(str(target.gpu))
    experts = model.geometry.experts > 0
    answer = Question(target, model.family, experts, model.stored, targets).answer()
    bundle = answer.layout if isinstance(answer, Choice) else model.stored
    found = llm_args.tuned_for(recipe, model, bundle.ffn, targets) if isinstance(answer, Choice) else None
    recipe = llm_args.with_profile(recipe, found, model.geometry.max_positions)
    rules = Rules(model.geometry, bundle, pipeline=model.family.name != GPT_OSS)
    refusals = (*(() if isinstance(answer, Choice) else answer), *refuse_layout(target.parallel, rules))
    if target.backend == "tensorrt" and isinstance(answer, Choice):
        refusals = (*refusals, *compiled.refuse(model.geometry, target.parallel))
    if refusals or not isinstance(answer, Choice):
        return _refused(recipe, model, refusals, rules)
    if bundle.ffn == "mxfp4" and any(a.kind == "rescale" for actions in model.repairs.values() for a in actions):
        return _refused(recipe, model, (REPAIR_FIRST,), rules)
    answer = backend.follow(recipe, model, answer, targets)
    changes = changes_to(model, bundle)
    check_taken(changes, model.input_scales)
    shards = rewrite.source_shards(model.census, changes)
    weights = Weights.of({str(a.output): (str(a.dtype), a.shape) for s in shards for a in s.actions if a.output})
    kv = memory.kv_dtype(recipe.engine.kv_cache_dtype, model.census.quant.kv_cache_algo if model.census.quant else None)
    held = memory.budget(recipe, weights, model.geometry, gpu.memory_bytes, kv)
    fits = memory.legal_that_fit(rules, weights, model.geometry, gpu.memory_bytes)
    if held.weights + held.reserve > held.gpu:
        refusal = memory.refuse(held, recipe, fits, targets, evidence(gpu.fact("memory")))
        return _refused(recipe, model, (refusal,), rules, held, fits, _before(answer))
    if target.backend == "tensorrt":
        shards = compiled.rank_shards(model.tensors, model.geometry, target.parallel.tp, model.repairs.values())
    return _accepted(recipe, model, answer, shards, held, fits, targets, found)


def changes_to(model: Model, bundle: Layout) -> rewrite.Changes:
    """Repairs of the checkpoint, and what takes its weights to the bundle's formats."""
    shapes = {name: info.shape for name, info in model.tensors.items()}
    changes = dict(model.repairs)
    stored = model.stored
    if stored.attention == "nvfp4" and bundle.attention == "bf16":
        weights = list(model.family.attention_weights(model.geometry))
        why = "bf16-attention" if model.family.name == GPT_OSS else "bf16-weights"
        changes |= rewrite.dequantize_linears(weights, shapes, why)
    if stored.ffn == bundle.ffn:
        return changes
    if model.family.name != GPT_OSS:
        packed = [
            name
            for name, info in model.tensors.items()
            if info.dtype == "U8" and name.endswith(".weight") and name not in changes
        ]
        return changes | rewrite.dequantize_linears(packed, shapes, "bf16-weights")
    stems = rewrite.expert_stems(model.geometry)
    if bundle.ffn == "mxfp4":
        return changes | rewrite.experts_to_mxfp4(stems, shapes)
    return changes | rewrite.experts_to_nvfp4(stems, shapes, take_scales=model.input_scales is not None)


def _refused(
    recipe: Recipe,
    model: Model,
    refusals: Sequence[Refusal],
    rules: Rules,
    held: Memory | None = None,
    fits: Sequence[Split] = (),
    notes: Sequence[Note] = (),
) -> Plan:
    return Plan(
        architecture=model.census.architecture,
        target=recipe.target.model_dump(mode="json"),
        verdict="refused",
        why=refusals[0].what,
        shards=(),
        evidence=tuple(dict.fromkeys(refusal.evidence for refusal in refusals)),
        refusals=tuple(refusals),
        notes=tuple(notes),
        memory=held,
        layouts=tuple(split(layout) for layout in rules.legal()) if held is None else tuple(fits),
        predicted=model.predicted,
    )


def _before(choice: Choice) -> tuple[Note, ...]:
    """What else stands in the way of a plan that memory refuses."""
    first = choice.instead_of
    return (*((Note(first.what, first.evidence.source),) if first else ()), *choice.notes)


def _accepted(
    recipe: Recipe,
    model: Model,
    choice: Choice,
    shards: tuple[ShardPlan, ...],
    held: Memory,
    layouts: Sequence[Split],
    targets: Targets,
    found: Tuned | None,
) -> Plan:
    is_compiled = recipe.target.backend == "tensorrt"
    files = _json(recipe, model, choice.layout, shards, targets)
    moe_backend = choice.kernel.backend if choice.kernel and model.geometry.experts else None
    args = None if is_compiled else llm_args.llm_args(recipe, moe_backend, found)
    copies = [copy for copy in model.copies if copy.file not in {*files.files, *files.dropped}]
    changed = bool(files.files) or any(not shard.unchanged for shard in shards)
    reasons = rewrite.reasons_of(shards)
    return Plan(
        architecture=model.census.architecture,
        target=recipe.target.model_dump(mode="json"),
        verdict="after-change" if changed else "loads",
        why=_why(choice, reasons, files),
        shards=shards,
        formats={"attention": choice.layout.attention, "ffn": choice.layout.ffn},
        kernel=f"{choice.kernel.backend} ({choice.kernel.algo})" if choice.kernel else None,
        lossy=rewrite.is_lossy(model.stored, choice.layout),
        contested=choice.contested,
        evidence=_evidence(recipe, model, choice, targets),
        json_files=dict.fromkeys(files.files) if model.predicted else files.files,
        copies=tuple(copies),
        llm_args=args,
        reasons=reasons,
        notes=(
            *_notes(recipe, model, choice, held),
            *llm_args.notes(recipe, args, found),
            *launch.notes(recipe, copies),
        ),
        memory=held,
        layouts=tuple(layouts),
        launch=launch.launch(recipe, args, found, copies),
        confirm=_confirm(recipe, model, choice, targets),
        predicted=model.predicted,
    )


def _json(recipe: Recipe, model: Model, bundle: Layout, shards: Sequence[ShardPlan], targets: Targets) -> JsonFiles:
    census = model.census
    if recipe.target.backend == "tensorrt":
        config = compiled.trtllm_config(census, model.geometry, recipe.target.parallel.tp)
        return JsonFiles({CONFIG: config}, (QUANT_CONFIG, INDEX))
    return rewritten(census, model.stored, bundle, _exclude(recipe, model, bundle, targets), shards)


def _exclude(recipe: Recipe, model: Model, bundle: Layout, targets: Targets) -> tuple[str, ...] | None:
    """The exclude list to write, None where the checkpoint's JSON already says what the release's loader needs."""
    if bundle.ffn != "nvfp4":
        return None
    listed = model.census.quant.exclude_modules if model.census.quant else UNSAID_EXCLUDES
    inline = model.census.quant is not None and targets.release(str(recipe.target.release)).inline_quant_config
    unread = model.census.quant_config is None and not inline
    if model.family.name == GPT_OSS:
        # the loader replaces any list but an empty one, so a list is written whenever something else is
        needed = bundle != model.stored or not listed or len(set(listed)) < len(listed) or unread
        return targets.gpt_oss_nvfp4.exclude_modules(model.geometry.layers) if needed else None
    wanted = corrected(model.tensors, listed)
    return wanted if wanted != tuple(listed) or unread else None


def _why(choice: Choice, reasons: Mapping[str, str], files: JsonFiles) -> str:
    if choice.instead_of is not None:
        return f"{choice.instead_of.what[0].upper()}{choice.instead_of.what[1:]}, but there is one for MXFP4."
    changes = [text for key, text in reasons.items() if key != "same"]
    if changes:
        return changes[0]
    return f"The release needs {' and '.join(files.files)} rewritten; the weights stay." if files.files else AS_IT_IS


def _evidence(recipe: Recipe, model: Model, choice: Choice, targets: Targets) -> tuple[Evidence, ...]:
    """The facts that decided, the deciding one first."""
    found = [choice.instead_of.evidence] if choice.instead_of else []
    release = targets.release(str(recipe.target.release))
    if model.family.name == GPT_OSS and choice.layout.ffn == "nvfp4":
        found.append(evidence(targets.gpt_oss_nvfp4.facts["exclude-override"]))
        found.append(evidence(release.fact("gpt-oss-nvfp4")))
    if recipe.target.backend == "tensorrt":
        found.append(evidence(release.fact("tensorrt-backend")))
    return tuple(dict.fromkeys((*found, *choice.evidence)))


def _notes(recipe: Recipe, model: Model, choice: Choice, held: Memory) -> list[Note]:
    notes = list(choice.notes)
    if rewrite.is_lossy(model.stored, choice.layout):
        notes.append(ORIGINAL)
    if model.stored.ffn == "mxfp4" and choice.layout.ffn == "nvfp4":
        notes.append(CAST)
    if recipe.target.backend == "tensorrt":
        notes.append(COMPILED)
    if choice.layout.ffn == "bf16" and model.stored.ffn == "bf16":
        notes.append(Note("The weights are BF16: quantise them with ModelOpt to serve FP4"))
    return [*notes, *memory.memory_notes(recipe, held, model.geometry, choice.layout.ffn)]


def _confirm(recipe: Recipe, model: Model, choice: Choice, targets: Targets) -> str | None:
    """The command that settles, inside the container, what is not known from outside."""
    release = targets.release(str(recipe.target.release))
    is_asked = model.family.name == GPT_OSS and choice.layout.ffn == "nvfp4"
    return release.confirm if is_asked else None
