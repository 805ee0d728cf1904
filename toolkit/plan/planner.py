"""(recipe, census) → ``Plan``. Reads no weights and no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.source import CONFIG, GENERATION_CONFIG, INDEX, QUANT_CONFIG, TOKENIZER, TOKENIZER_FILES
from toolkit.errors import PlanError
from toolkit.models import gpt_oss
from toolkit.models.layout import Layout, match
from toolkit.plan.refusals import refuse
from toolkit.plan.types import Action, Copy, Plan, ShardPlan
from toolkit.recipe import Recipe
from toolkit.trtllm import Targets, load_targets
from toolkit.trtllm.llm_args import llm_args

REASONS = {
    "same": "The target reads this tensor as it is stored.",
    "bf16-attention": (
        "TensorRT-LLM's gpt-oss NVFP4 loader builds q, k, v and o in BF16, whatever the checkpoint's exclude list says."
    ),
    "unused-scale": "A BF16 projection has no block, global or input scale.",
}


def make_plan(recipe: Recipe, census: Census, *, tokenizer_files: Sequence[str] = (), predicted: bool = False) -> Plan:
    """The plan that takes the checkpoint of ``census`` to the recipe's target.

    ``tokenizer_files`` names what is in the folder ``checkpoint.tokenizer``, if the recipe has one. A target that
    cannot load the checkpoint gives a plan with verdict ``refused`` and the reasons. Raises ``PlanError`` for an
    architecture, release or GPU that trtkit does not know, for a context beyond the model's and for a tokenizer folder
    without tokenizer.json, ``CheckpointError`` for tensors that fit no layout.
    """
    if census.architecture != gpt_oss.ARCHITECTURE:
        raise PlanError(
            f"unknown architecture {census.architecture!r}",
            where=f"{census.where}/{CONFIG}",
            hint=f"trtkit knows {gpt_oss.ARCHITECTURE}: set checkpoint.path to a gpt-oss checkpoint",
        )
    geometry = gpt_oss.Geometry.from_config(census.config, census.where)
    layout = match(census.tensors, geometry, census.where)
    _check_context(recipe, census)
    copies = _copies(recipe, census, tokenizer_files)
    if recipe.target.runtime == "cpu":
        return Plan(
            architecture=census.architecture,
            target=recipe.target.model_dump(mode="json"),
            verdict="loads",
            why="The CPU runtime reads every tensor as it is stored.",
            shards=_shards(census, {}),
            copies=copies,
            reasons={"same": REASONS["same"]},
            predicted=predicted,
        )
    return _plan_tensorrt_llm(recipe, census, geometry, layout, copies, predicted)


def _plan_tensorrt_llm(
    recipe: Recipe,
    census: Census,
    geometry: gpt_oss.Geometry,
    layout: Layout,
    copies: tuple[Copy, ...],
    predicted: bool,
) -> Plan:
    targets = load_targets()
    refusals = refuse(recipe.target, geometry, layout, targets)
    common: dict[str, Any] = {
        "architecture": census.architecture,
        "target": recipe.target.model_dump(mode="json"),
        "predicted": predicted,
    }
    if refusals:
        return Plan(verdict="refused", why=refusals[0].what, shards=(), refusals=refusals, **common)
    changes = _attention_to_bf16(geometry) if layout.attention == "nvfp4" else {}
    shards = _shards(census, changes)
    json_files = _json_files(census, geometry, targets, shards)
    assert recipe.target.release is not None
    assert recipe.target.gpu is not None
    return Plan(
        verdict="after-change" if changes else "loads",
        why=REASONS["bf16-attention"] if changes else "Every tensor already has the layout that the loader builds.",
        shards=shards,
        json_files=dict.fromkeys(json_files) if predicted else json_files,
        copies=tuple(copy for copy in copies if copy.file not in json_files),
        llm_args=llm_args(recipe, targets.gpt_oss_nvfp4.moe_backend[targets.gpu(recipe.target.gpu).sm]),
        reasons={key: REASONS[key] for key in ("same", *(("bf16-attention", "unused-scale") if changes else ()))},
        confirm=_confirm(targets, recipe.target.release),
        **common,
    )


def _attention_to_bf16(geometry: gpt_oss.Geometry) -> dict[str, Action]:
    """Actions by source tensor: each packed projection becomes BF16 and its scales go."""
    changes: dict[str, Action] = {}
    for name in gpt_oss.attention_weights(geometry):
        projection = name.split(".")[-2]
        scales = (f"{name}_scale", f"{name}_scale_2")
        inputs = (name, *scales)
        shape = geometry.projection_shape(projection)
        changes[name] = Action("dequantize", inputs, name, "BF16", shape, "bf16-attention")
        for scale in (*scales, name.removesuffix("weight") + "input_scale"):
            changes[scale] = Action("drop", (scale,), reason="unused-scale")
    return changes


def _shards(census: Census, changes: Mapping[str, Action]) -> tuple[ShardPlan, ...]:
    by_shard: dict[str, list[Action]] = {shard: [] for shard in census.shards}
    for info in sorted(census.tensors.values(), key=lambda info: info.begin):
        keep = Action("keep", (info.name,), info.name, info.dtype, info.shape, "same")
        by_shard[info.shard].append(changes.get(info.name, keep))
    return tuple(ShardPlan(file, tuple(actions)) for file, actions in by_shard.items())


def _json_files(
    census: Census, geometry: gpt_oss.Geometry, targets: Targets, shards: Sequence[ShardPlan]
) -> dict[str, Any]:
    """Both quantisation files with the exclude list that the loader builds, and the index of the new shards."""
    exclude = list(targets.gpt_oss_nvfp4.exclude_modules(geometry.layers))
    config = dict(census.config)
    inline = dict(config.get("quantization_config") or {})
    quantization = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": census.quant.kv_cache_algo if census.quant else None,
        "group_size": gpt_oss.GROUP_SIZE,
        "exclude_modules": exclude,
    }
    producer = (census.quant_config or {}).get("producer") or inline.get("producer") or {"name": "modelopt"}
    if inline:
        config["quantization_config"] = {**inline, "ignore": exclude}
    files = {
        CONFIG: config,
        QUANT_CONFIG: {"producer": producer, "quantization": quantization},
    }
    if INDEX in census.files:
        files[INDEX] = _index(shards)
    return files


def _index(shards: Sequence[ShardPlan]) -> dict[str, Any]:
    written = [(action, shard.file) for shard in shards for action in shard.actions if action.output is not None]
    sizes = [action.nbytes for action, _ in written]
    return {
        "metadata": {"total_size": sum(sizes)},
        "weight_map": {action.output: file for action, file in sorted(written, key=lambda item: str(item[0].output))},
    }


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


def _check_context(recipe: Recipe, census: Census) -> None:
    limit = census.config.get("max_position_embeddings")
    if isinstance(limit, int) and recipe.engine.max_seq_len > limit:
        raise PlanError(
            f"engine.max_seq_len {recipe.engine.max_seq_len} is beyond the model's context of {limit} tokens",
            where=f"{census.where}/{CONFIG}, max_position_embeddings",
            hint=f"Set engine.max_seq_len to at most {limit}",
        )


def _confirm(targets: Targets, release: str) -> str | None:
    """The command that settles, inside the container, what is not known from outside."""
    unverified = targets.release(release).gpt_oss_nvfp4 == "unverified"
    return targets.gpt_oss_nvfp4.confirm if unverified else None
