"""(recipe, census) → ``Plan``. Reads no weights and no files."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.source import CONFIG, GENERATION_CONFIG, INDEX, QUANT_CONFIG, TOKENIZER, TOKENIZER_FILES
from toolkit.errors import PlanError
from toolkit.models import gpt_oss
from toolkit.models.geometry import Geometry
from toolkit.models.registry import FAMILIES, find
from toolkit.plan.model import Model
from toolkit.plan.repairs import Tensors, check_taken, repair
from toolkit.plan.rewrite import reasons_of, source_shards
from toolkit.plan.target import plan_target
from toolkit.plan.types import Copy, Plan
from toolkit.recipe import Recipe


def make_plan(
    recipe: Recipe,
    census: Census,
    *,
    tokenizer_files: Sequence[str] = (),
    bf16: Tensors | None = None,
    input_scales: Tensors | None = None,
    predicted: bool = False,
) -> Plan:
    """The plan that takes the checkpoint of ``census`` to the recipe's target.

    ``tokenizer_files`` names what is in the folder ``checkpoint.tokenizer``; ``bf16`` and ``input_scales`` are the
    headers of the recipe's other checkpoints. A target that cannot load the checkpoint gives a plan with verdict
    ``refused`` and the reasons. Raises ``PlanError`` for an architecture, release, GPU or LLM argument that trtkit does
    not know, for a context beyond the model's and for a tokenizer folder without tokenizer.json, ``CheckpointError``
    for tensors that fit no layout.
    """
    family = find(census.architecture)
    if family is None:
        raise PlanError(
            f"unknown architecture {census.architecture!r}",
            where=f"{census.where}/{CONFIG}",
            hint=f"trtkit knows {', '.join(FAMILIES)}: set checkpoint.path to such a checkpoint",
        )
    geometry = family.geometry(census.config, census.where)
    tensors, repairs = repair(census.tensors, census.where, bf16=bf16, input_scales=input_scales)
    stored = family.match(tensors, geometry, census.where)
    _check_context(recipe, geometry, census)
    copies = _copies(recipe, census, tokenizer_files)
    model = Model(census, family, geometry, stored, tensors, repairs, copies, input_scales, predicted)
    return _plan_cpu(recipe, model) if recipe.target.runtime == "cpu" else plan_target(recipe, model)


def _plan_cpu(recipe: Recipe, model: Model) -> Plan:
    if model.family is not gpt_oss.FAMILY or "mxfp4" in (model.stored.attention, model.stored.ffn):
        stored = f"{model.family.name} with {model.stored.ffn.upper()} weights"
        hint = "Set target.runtime=tensorrt-llm, target.release and target.gpu"
        raise PlanError(
            f"the cpu runtime runs gpt-oss in NVFP4 or BF16, not {stored}", where="target.runtime", hint=hint
        )
    check_taken(model.repairs, model.input_scales)
    shards = source_shards(model.census, model.repairs)
    return Plan(
        architecture=model.census.architecture,
        target=recipe.target.model_dump(mode="json"),
        verdict="after-change" if model.repairs else "loads",
        why="The CPU runtime reads every tensor as it is stored.",
        shards=shards,
        formats={"attention": model.stored.attention, "ffn": model.stored.ffn},
        copies=model.copies,
        reasons=reasons_of(shards),
        predicted=model.predicted,
    )


def _copies(recipe: Recipe, census: Census, tokenizer_files: Sequence[str]) -> tuple[Copy, ...]:
    """JSON and tokenizer files that go along; weights, documents and checksums of the source do not."""
    wanted = (CONFIG, GENERATION_CONFIG, QUANT_CONFIG, INDEX)
    copies = [Copy("checkpoint", file) for file in wanted if file in census.files]
    folder = recipe.checkpoint.tokenizer
    if folder is None:
        return (*copies, *(Copy("checkpoint", name) for name in TOKENIZER_FILES if name in census.files))
    if TOKENIZER not in tokenizer_files:
        hint = "Set checkpoint.tokenizer to a folder that has one"
        raise PlanError(f"there is no {TOKENIZER}", where=str(folder), hint=hint)
    return (*copies, *(Copy("tokenizer", name) for name in TOKENIZER_FILES if name in tokenizer_files))


def _check_context(recipe: Recipe, geometry: Geometry, census: Census) -> None:
    limit = geometry.max_positions
    if limit is not None and recipe.engine.max_seq_len > limit:
        raise PlanError(
            f"engine.max_seq_len {recipe.engine.max_seq_len} is beyond the model's context of {limit} tokens",
            where=f"{census.where}/{CONFIG}, max_position_embeddings",
            hint=f"Set engine.max_seq_len to at most {limit}",
        )
