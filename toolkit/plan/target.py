"""The plan for a TensorRT-LLM target: formats, changes, layout, memory, LLM arguments, command lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.checkpoint.source import CONFIG, INDEX, QUANT_CONFIG
from toolkit.inspection.declared import MIXED
from toolkit.models.layout import Format, Layout
from toolkit.models.sharding import Weights
from toolkit.plan import backend, compiled, launch, llm_args, memory, rewrite, words
from toolkit.plan.cite import cite
from toolkit.plan.declared import agrees, algo_of, is_unread, kv_algo, refuse, said
from toolkit.plan.excludes import corrected
from toolkit.plan.jsonfiles import JsonFiles, rewritten
from toolkit.plan.model import Model
from toolkit.plan.parallel import Rules, refuse_layout, split
from toolkit.plan.refusals import Choice, Question
from toolkit.plan.repairs import check_taken
from toolkit.plan.types import Memory, Note, Plan, Refusal, ShardPlan, Split
from toolkit.recipe import Recipe
from toolkit.trtllm import Targets, load_targets
from toolkit.trtllm.tuned import Tuned

UNSAID_EXCLUDES = ("*.mlp.gate", "lm_head")
"""What the loader itself takes for an NVFP4 checkpoint whose JSON has no list (fact ``default-excludes``)."""
REPAIR_FIRST = "the block scales must be repaired before they can be transcoded"
REPAIRED_WAY = (
    "Build it for a b200 with target.weights=nvfp4, then set checkpoint.path to that bundle's checkpoint folder"
)


def plan_target(recipe: Recipe, model: Model) -> Plan:
    """The whole plan; a refused one has the reasons and the legal layouts."""
    targets = load_targets()
    question = Question(recipe.target, model.family, model.geometry.experts > 0, model.stored, targets)
    answer = question.answer()
    bundle = answer.layout if isinstance(answer, Choice) else model.stored
    found = llm_args.tuned_for(recipe, model, bundle.ffn, targets) if isinstance(answer, Choice) else None
    recipe = llm_args.with_profile(recipe, found, model.geometry.max_positions)
    rules = Rules(model.geometry, bundle, pipeline=model.family.pipeline)
    refusals = (
        *(_against_bundle(recipe, model, answer, question, targets) if isinstance(answer, Choice) else answer),
        *refuse_layout(recipe.target.parallel, rules, _fitting(recipe, model, rules, targets)),
    )
    if refusals or not isinstance(answer, Choice):
        return _refused(recipe, model, refusals, rules)
    answer = backend.follow(recipe, model, answer, targets)
    changes = changes_to(model, bundle)
    check_taken(changes, model.input_scales)
    shards = rewrite.source_shards(model.census, changes)
    held, fits = _memory(recipe, model, bundle, shards, rules, targets)
    if held.weights + held.reserve > held.gpu:
        able = {name: gpu.memory_bytes for name, gpu in targets.gpus.items() if question.on(name, held.kv_dtype)}
        fact = targets.gpu(str(recipe.target.gpu)).fact("memory")
        refusal = memory.refuse(held, recipe, fits, able, fact)
        return _refused(recipe, model, (refusal,), rules, held, fits, words.before(answer))
    if recipe.target.backend == "tensorrt":
        shards = compiled.rank_shards(model.tensors, model.geometry, recipe.target.parallel.tp, model.repairs.values())
    return _accepted(recipe, model, answer, shards, held, fits, targets, found)


def _against_bundle(
    recipe: Recipe, model: Model, choice: Choice, question: Question, targets: Targets
) -> Iterator[Refusal]:
    """What stands against formats that the target computes: the KV cache, the checkpoint's JSON, wrong scales."""
    census, bundle, target = model.census, choice.layout, recipe.target
    kv = kv_algo(census, model.stored, bundle)
    if target.backend == "tensorrt":
        yield from compiled.refuse(model.geometry, target.parallel)
        yield from compiled.refuse_kv(recipe.engine.kv_cache_dtype, kv)
    yield from question.against_kv(memory.kv_dtype(recipe.engine.kv_cache_dtype, kv))
    lists = (
        model.family.fused_experts
        or bundle != model.stored
        or is_unread(census, targets.release(str(recipe.target.release)))
    )
    yield from refuse(census, model.stored, bundle, question.other_weights("nvfp4"), lists=lists)
    if bundle.ffn == "mxfp4" and any(a.kind == "rescale" for actions in model.repairs.values() for a in actions):
        yield Refusal(REPAIR_FIRST, (REPAIRED_WAY,), cite("untransposed-scales"))


def _memory(
    recipe: Recipe, model: Model, bundle: Layout, shards: Sequence[ShardPlan], rules: Rules, targets: Targets
) -> tuple[Memory, list[Split]]:
    """What the recipe's layout holds, and the legal layouts that hold their weights."""
    weights = Weights.of({str(a.output): (str(a.dtype), a.shape) for s in shards for a in s.actions if a.output})
    kv = memory.kv_dtype(recipe.engine.kv_cache_dtype, kv_algo(model.census, model.stored, bundle))
    gpu = targets.gpu(str(recipe.target.gpu)).memory_bytes
    held = memory.budget(recipe, weights, model.geometry, gpu, kv)
    return held, memory.legal_that_fit(rules, weights, model.geometry, gpu)


def _fitting(recipe: Recipe, model: Model, rules: Rules, targets: Targets) -> list[Split]:
    """The legal layouts that hold the weights as they are stored; asked for only where the recipe's is not legal."""
    if rules.is_legal(recipe.target.parallel):
        return []
    stored = Weights.of({name: (info.dtype, info.shape) for name, info in model.tensors.items()})
    return memory.legal_that_fit(rules, stored, model.geometry, targets.gpu(str(recipe.target.gpu)).memory_bytes)


def changes_to(model: Model, bundle: Layout) -> rewrite.Changes:
    """Repairs of the checkpoint, and what takes each kind of weight to the bundle's format.

    Raises ``ValueError`` for a change of format that no action makes; ``refusals`` lets none through.
    """
    shapes = {name: info.shape for name, info in model.tensors.items()}
    attention = dict.fromkeys(model.family.attention_weights(model.geometry))
    changes = dict(model.repairs)
    if model.stored.attention != bundle.attention:
        _expect("attention", model.stored.attention, bundle.attention, ("nvfp4", "bf16"))
        why = "bf16-attention" if model.family.fused_experts else "bf16-weights"
        changes |= rewrite.dequantize_linears(list(attention), shapes, why)
    if model.stored.ffn != bundle.ffn:
        changes |= _ffn_to(model, bundle, shapes, attention)
    if kv_algo(model.census, model.stored, bundle) is None and bundle != model.stored:
        changes |= rewrite.drop_kv_scales(model.tensors.keys() & model.family.kv_scales(model.geometry).keys())
    return changes


def _ffn_to(
    model: Model, bundle: Layout, shapes: Mapping[str, tuple[int, ...]], attention: Mapping[str, None]
) -> rewrite.Changes:
    if not model.family.fused_experts:
        _expect("FFN", model.stored.ffn, bundle.ffn, ("nvfp4", "bf16"))
        packed = [name for name, info in model.tensors.items() if info.dtype == "U8" and name not in attention]
        return rewrite.dequantize_linears(packed, shapes, "bf16-weights")
    stems = rewrite.expert_stems(model.geometry)
    if bundle.ffn == "mxfp4":
        _expect("experts", model.stored.ffn, bundle.ffn, ("nvfp4", "mxfp4"))
        return rewrite.experts_to_mxfp4(stems, shapes)
    _expect("experts", model.stored.ffn, bundle.ffn, ("mxfp4", "nvfp4"))
    return rewrite.experts_to_nvfp4(stems, shapes, take_scales=model.input_scales is not None)


def _expect(part: str, stored: Format, wanted: Format, known: tuple[Format, Format]) -> None:
    if (stored, wanted) != known:
        raise ValueError(f"no action takes {part} from {stored} to {wanted}")


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
    files = _json(recipe, model, choice.layout, shards, targets)
    args = _llm_args(recipe, model, choice, found)
    copies = [copy for copy in model.copies if copy.file not in {*files.files, *files.dropped}]
    changed = bool(files.files) or any(not shard.unchanged for shard in shards)
    reasons, facts = rewrite.reasons_of(shards), words.facts(recipe, model, choice, targets)
    notes = words.notes(recipe, model, choice, held)
    return Plan(
        architecture=model.census.architecture,
        target=recipe.target.model_dump(mode="json"),
        verdict="after-change" if changed else "loads",
        why=words.why(choice, reasons, files),
        shards=shards,
        formats={"attention": choice.layout.attention, "ffn": choice.layout.ffn},
        kernel=f"{choice.kernel.backend} ({choice.kernel.algo})" if choice.kernel else None,
        lossy=rewrite.is_lossy(model.stored, choice.layout),
        contested=choice.contested or any(fact.status == "contested" for fact in facts),
        certainty=words.certainty(recipe, model, choice, targets),
        ways_out=words.ways_to_the_own_format(choice),
        evidence=facts,
        json_files=dict.fromkeys(files.files) if model.predicted else files.files,
        copies=tuple(copies),
        llm_args=args,
        reasons=reasons,
        notes=(*notes, *llm_args.notes(recipe, args, found), *launch.notes(recipe, copies)),
        memory=held,
        layouts=tuple(layouts),
        launch=launch.launch(recipe, args, found, copies),
        confirm=words.confirm(recipe, model, choice, targets),
        predicted=model.predicted,
    )


def _llm_args(recipe: Recipe, model: Model, choice: Choice, found: Tuned | None) -> dict[str, Any] | None:
    """None for a compiled engine, which has none."""
    moe_backend = choice.kernel.backend if choice.kernel and model.geometry.experts else None
    return llm_args.llm_args(recipe, moe_backend, found) if recipe.target.backend == "pytorch" else None


def _json(recipe: Recipe, model: Model, bundle: Layout, shards: Sequence[ShardPlan], targets: Targets) -> JsonFiles:
    census = model.census
    if recipe.target.backend == "tensorrt":
        config = compiled.trtllm_config(census, model.geometry, recipe.target.parallel.tp)
        return JsonFiles({CONFIG: config}, (QUANT_CONFIG, INDEX))
    return rewritten(census, model.stored, bundle, _exclude(recipe, model, bundle, targets), shards)


def _exclude(recipe: Recipe, model: Model, bundle: Layout, targets: Targets) -> tuple[str, ...] | None:
    """The exclude list to write, None where the checkpoint's JSON already says what the release's loader needs."""
    census, stored = model.census, model.stored
    if algo_of(bundle) not in ("NVFP4", "FP8") or said(census) == MIXED:
        return None
    listed = census.quant.exclude_modules if census.quant else UNSAID_EXCLUDES
    wrong = is_unread(census, targets.release(str(recipe.target.release))) or not agrees(census, stored)
    if model.family.fused_experts:
        # the loader replaces any list but an empty one, so a list is written whenever something else is
        needed = bundle != stored or not listed or len(set(listed)) < len(listed) or wrong
        return targets.gpt_oss_nvfp4.exclude_modules(model.geometry.layers) if needed else None
    wanted = corrected(model.tensors, listed)
    return wanted if wanted != tuple(listed) or wrong else None
