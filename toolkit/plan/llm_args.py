"""``LLM(...)`` arguments of a plan, and what ``engine.profile`` decides, laid to what the release knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.errors import PlanError
from toolkit.models.layout import Format
from toolkit.plan.model import Model
from toolkit.plan.types import Note
from toolkit.recipe import Recipe
from toolkit.trtllm import Targets, arguments, tuned
from toolkit.trtllm.tuned import Tuned

# LLM arguments from which layout and memory are planned → the recipe keys that give them
PLANNED = {
    "backend": "target.backend",
    "tensor_parallel_size": "target.parallel.tp",
    "pipeline_parallel_size": "target.parallel.pp",
    "moe_expert_parallel_size": "target.parallel.ep",
    "moe_tensor_parallel_size": "target.parallel, tp / ep",
    "enable_attention_dp": "target.parallel.attention_dp",
    "max_batch_size": "engine.max_batch_size",
    "max_num_tokens": "engine.max_num_tokens",
    "max_seq_len": "engine.max_seq_len",
    "kv_cache_config.dtype": "engine.kv_cache_dtype",
    "kv_cache_config.free_gpu_memory_fraction": "engine.kv_cache_free_gpu_memory_fraction",
    "kv_cache_free_gpu_memory_fraction": "engine.kv_cache_free_gpu_memory_fraction",
}
UNPLANNED = {
    "context_parallel_size": (1, "trtkit plans no context parallelism"),
    "moe_cluster_parallel_size": (1, "trtkit plans no MoE clusters"),
    "quant_config": (None, "the checkpoint's own JSON says how it is quantised"),
    "model": (None, "the bundle's checkpoint is the model"),
}
"""LLM arguments that may say one thing only, and why."""
UNCOUNTED = (
    "kv_cache_config.max_tokens",
    "kv_cache_config.max_gpu_total_bytes",
    "kv_cache_config.max_attention_window",
    "max_beam_width",
    "model_kwargs",
    "speculative_config",
    "enable_lora",
    "lora_config",
)
"""LLM arguments that change the memory or the model, which the plan does not count."""


def llm_args(recipe: Recipe, moe_backend: str | None, found: Tuned | None) -> dict[str, Any]:
    """``LLM(...)`` arguments of the PyTorch backend: tuned ones, the recipe's sections over them, then engine.llm_args.

    Raises ``PlanError`` for one that the release does not know, and for one of engine.llm_args that contradicts what
    was planned with.
    """
    planned = _from_recipe(recipe)
    args = _merged(_tuned_args(found) if found else {}, planned)
    if found is None or _tuned_batch(found) != recipe.engine.max_batch_size:
        args["cuda_graph_config"] = {"enable_padding": True, "max_batch_size": recipe.engine.max_batch_size}
    if moe_backend is not None:
        args = _merged(args, {"moe_config": {"backend": moe_backend}})
    release, own = str(recipe.target.release), recipe.engine.llm_args
    arguments.check_llm_args(release, own, "engine.llm_args")
    _check_agreement(own, planned | {"moe_tensor_parallel_size": recipe.target.parallel.moe_tp})
    args = _with_own(args, own)
    arguments.check_llm_args(release, args, "llm_args")
    return args


def _with_own(args: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged, graphs = _merged(args, own), own.get("cuda_graph_config")
    if isinstance(graphs, Mapping):
        # either says which graphs are captured, and the two must not differ
        for given, other in (("batch_sizes", "max_batch_size"), ("max_batch_size", "batch_sizes")):
            if given in graphs and other not in graphs:
                merged["cuda_graph_config"].pop(other, None)
    return merged


def _check_agreement(own: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    fraction = planned["kv_cache_config"]["free_gpu_memory_fraction"]
    planned = {**planned, "kv_cache_free_gpu_memory_fraction": fraction}
    for name, key in PLANNED.items():
        section, _, inner = name.rpartition(".")
        there, given = (own.get(section, {}), planned[section]) if section else (own, planned)
        found = None if there is None else there.get(inner, given[inner])
        if found != given[inner]:
            what = f"is {found!r}, but the plan is made for {key}={given[inner]}"
            raise PlanError(what, where=f"engine.llm_args.{name}", hint=f"Set {key} and leave this one out")
    for name, (only, why) in UNPLANNED.items():
        if own.get(name, only) != only:
            raise PlanError(f"is not for a plan: {why}", where=f"engine.llm_args.{name}", hint="Leave it out")


def _tuned_args(found: Tuned) -> dict[str, Any]:
    """Without leave to run code that comes with weights."""
    return {key: value for key, value in found.args.items() if key != "trust_remote_code"}


def _tuned_batch(found: Tuned) -> int | None:
    """The batch size that a configuration was made for, by its graphs where it names no other."""
    batch: int | None = found.args.get("max_batch_size", found.args.get("cuda_graph_config", {}).get("max_batch_size"))
    return batch


def _from_recipe(recipe: Recipe) -> dict[str, Any]:
    engine, parallel = recipe.engine, recipe.target.parallel
    return {
        "backend": "pytorch",
        "tensor_parallel_size": parallel.tp,
        "pipeline_parallel_size": parallel.pp,
        "moe_expert_parallel_size": parallel.ep,
        "enable_attention_dp": parallel.attention_dp,
        "max_batch_size": engine.max_batch_size,
        "max_num_tokens": engine.max_num_tokens,
        "max_seq_len": engine.max_seq_len,
        "kv_cache_config": {
            "dtype": engine.kv_cache_dtype,
            "free_gpu_memory_fraction": engine.kv_cache_free_gpu_memory_fraction,
        },
        "stream_interval": engine.stream_interval,
    }


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` wins, section by section."""
    merged = dict(under)
    for key, value in over.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return merged


def tuned_for(recipe: Recipe, model: Model, ffn: Format, targets: Targets) -> Tuned | None:
    """NVIDIA's tuned configuration for the recipe's profile, FFN weights in ``ffn``.

    Raises ``PlanError`` where it published none, and for LLM arguments or a profile of a compiled engine.
    """
    _check_compiled(recipe)
    profile, parallel = recipe.engine.profile, recipe.target.parallel
    if profile is None:
        return None
    family, sm = model.family.name, targets.gpu(str(recipe.target.gpu)).sm
    name = model.family.size_name(model.geometry)
    found = tuned.find(family, name, sm, profile, weights=ffn, tp=parallel.tp, attention_dp=parallel.attention_dp)
    if found is None:
        what = f"NVIDIA publishes no {profile} configuration of {name} in {ffn.upper()} for {recipe.target.gpu}"
        raise PlanError(what, where="engine.profile", hint="Leave engine.profile out, or set another")
    return found


def _check_compiled(recipe: Recipe) -> None:
    """A compiled engine has no LLM arguments."""
    for key in ("llm_args", "profile"):
        if recipe.target.backend == "tensorrt" and getattr(recipe.engine, key):
            what = "a compiled engine takes no LLM arguments"
            hint = f"Leave engine.{key} out, or set target.backend=pytorch"
            raise PlanError(what, where=f"engine.{key}", hint=hint)


def with_profile(recipe: Recipe, found: Tuned | None, context: int | None) -> Recipe:
    """The recipe with the limits of ``found`` for those that it does not set itself; ``context`` is the model's."""
    if found is None:
        return recipe
    kv = found.args.get("kv_cache_config", {})
    longest = found.args.get("max_seq_len")
    limits = {
        "max_batch_size": _tuned_batch(found),
        "max_num_tokens": found.args.get("max_num_tokens"),
        "max_seq_len": min(longest, context) if longest and context else longest,
        "kv_cache_dtype": kv.get("dtype"),
        "kv_cache_free_gpu_memory_fraction": kv.get("free_gpu_memory_fraction"),
        "stream_interval": found.args.get("stream_interval"),
    }
    given = recipe.engine.model_fields_set
    taken = {key: value for key, value in limits.items() if value is not None and key not in given}
    return recipe.model_copy(update={"engine": recipe.engine.model_copy(update=taken)})


def notes(recipe: Recipe, args: Mapping[str, Any] | None, found: Tuned | None) -> Iterator[Note]:
    """Where the LLM arguments come from, and what is doubtful about them."""
    args = args or {}
    if found is not None:
        differs = f": {found.note}" if found.note else ""
        what = f"what the recipe does not set comes from NVIDIA's {recipe.engine.profile} configuration{differs}"
        yield Note(what, found.source)
        theirs, ours = (a.get("moe_config", {}).get("backend") for a in (found.args, args))
        if theirs not in (None, ours):
            yield Note(f"that configuration has MoE backend {theirs}, the plan {ours}", found.source)
    for name in UNCOUNTED:
        section, _, inner = name.rpartition(".")
        if inner in ((recipe.engine.llm_args.get(section) or {}) if section else recipe.engine.llm_args):
            yield Note(f"the plan does not count what engine.llm_args.{name} changes")
    for line in arguments.check_llm_args(str(recipe.target.release), args, "llm_args"):
        yield Note(line)
