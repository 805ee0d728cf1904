"""LLM arguments and command lines of a plan for its release, checked against what that release knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.errors import PlanError
from toolkit.models.geometry import Geometry
from toolkit.models.layout import Format
from toolkit.plan.types import Launch, Note
from toolkit.recipe import Recipe
from toolkit.trtllm import arguments, commands, tuned
from toolkit.trtllm.commands import Command
from toolkit.trtllm.tuned import Tuned

ARGS_FILE = "llm_args.yaml"
GPT_OSS_20B_EXPERTS = 32
# LLM arguments from which layout and memory are planned → the recipe keys that give them
PLANNED = {
    "backend": "target.backend",
    "tensor_parallel_size": "target.parallel.tp",
    "pipeline_parallel_size": "target.parallel.pp",
    "moe_expert_parallel_size": "target.parallel.ep",
    "enable_attention_dp": "target.parallel.attention_dp",
    "max_batch_size": "engine.max_batch_size",
    "max_seq_len": "engine.max_seq_len",
    "kv_cache_config.dtype": "engine.kv_cache_dtype",
    "kv_cache_config.free_gpu_memory_fraction": "engine.kv_cache_free_gpu_memory_fraction",
}
_INTEGER = re.compile(r"[-+]?\d{1,18}")
_FLOAT = re.compile(r"[-+]?(\d{1,18}\.?\d{0,18}|\.\d{1,18})(e[-+]?\d{1,3})?", re.IGNORECASE)


def llm_args(recipe: Recipe, moe_backend: str | None, found: Tuned | None) -> dict[str, Any]:
    """``LLM(...)`` arguments of the PyTorch backend: tuned ones, the recipe's sections over them, then engine.llm_args.

    Raises ``PlanError`` for one that the release does not know, and for one of engine.llm_args that contradicts what
    was planned with.
    """
    planned = _from_recipe(recipe)
    args = _merged(_tuned_args(found) if found else {}, planned)
    if moe_backend is not None:
        args = _merged(args, {"moe_config": {"backend": moe_backend}})
    release, own = str(recipe.target.release), _typed(recipe.engine.llm_args)
    arguments.check_llm_args(release, own, "engine.llm_args")
    _check_agreement(own, planned)
    args = _merged(args, own)
    arguments.check_llm_args(release, args, "llm_args")
    return args


def _typed(value: Any) -> Any:
    """A recipe keeps every scalar as text, which release 1.10 needs; LLM arguments are numbers and truth values."""
    if isinstance(value, Mapping):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if _INTEGER.fullmatch(value):
        return int(value)
    return float(value) if _FLOAT.fullmatch(value) else value


def _check_agreement(own: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    for name, key in PLANNED.items():
        section, _, inner = name.rpartition(".")
        there, given = (own.get(section, {}), planned[section]) if section else (own, planned)
        found = None if there is None else there.get(inner, given[inner])
        if found != given[inner]:
            what = f"is {found!r}, but the plan is made for {key}={given[inner]}"
            raise PlanError(what, where=f"engine.llm_args.{name}", hint=f"Set {key} and leave this one out")


def check_compiled(recipe: Recipe) -> None:
    """A compiled engine has no LLM arguments; raises ``PlanError`` for a recipe that gives some."""
    for key in ("llm_args", "profile"):
        if getattr(recipe.engine, key):
            what = "a compiled engine takes no LLM arguments"
            hint = f"Leave engine.{key} out, or set target.backend=pytorch"
            raise PlanError(what, where=f"engine.{key}", hint=hint)


def _tuned_args(found: Tuned) -> dict[str, Any]:
    """Without what the recipe's batch size stands for, and without leave to run code that comes with weights."""
    args = {key: value for key, value in found.args.items() if key != "trust_remote_code"}
    graphs = args.get("cuda_graph_config")
    if isinstance(graphs, Mapping):
        args["cuda_graph_config"] = {key: value for key, value in graphs.items() if key != "batch_sizes"}
    return args


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
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": engine.max_batch_size},
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


def tuned_for(recipe: Recipe, family: str, geometry: Geometry, ffn: Format, sm: int) -> Tuned | None:
    """NVIDIA's tuned configuration for the recipe's profile; raises ``PlanError`` where it published none."""
    profile = recipe.engine.profile
    if profile is None:
        return None
    model = f"gpt-oss-{'120b' if geometry.experts > GPT_OSS_20B_EXPERTS else '20b'}" if family == "gpt-oss" else family
    found = tuned.find(family, model, sm, profile, weights=ffn, tp=recipe.target.parallel.tp)
    if found is None:
        what = f"NVIDIA publishes no {profile} configuration of {model} in {ffn.upper()} for {recipe.target.gpu}"
        raise PlanError(what, where="engine.profile", hint="Leave engine.profile out, or set another")
    return found


def notes(recipe: Recipe, args: Mapping[str, Any] | None, found: Tuned | None) -> Iterator[Note]:
    """Where the LLM arguments come from, and what is doubtful about them."""
    if found is not None:
        differs = f": {found.note}" if found.note else ""
        what = f"LLM arguments without a recipe key come from NVIDIA's {recipe.engine.profile} configuration{differs}"
        yield Note(what, found.source)
    for line in arguments.check_llm_args(str(recipe.target.release), args or {}, "llm_args"):
        yield Note(line)


def launch(recipe: Recipe, model: str, args: Mapping[str, Any] | None, found: Tuned | None) -> Launch:
    """Command lines with the bundle's own paths, in the order in which they are typed; ``model`` names the weights."""
    bundle, release, engine = recipe.engine.output, str(recipe.target.release), recipe.engine
    model_dir, args_file = str(bundle / "checkpoint"), str(bundle / ARGS_FILE)
    if args is None:
        argv = commands.build(
            release,
            model_dir,
            str(bundle / "engine"),
            max_batch_size=engine.max_batch_size,
            max_num_tokens=engine.max_num_tokens,
            max_seq_len=engine.max_seq_len,
            gemm_plugin="nvfp4",
            workers=recipe.target.parallel.tp,
        )
        return Launch({"build": Command(tuple(argv))}, {})
    isl, osl, concurrency = recipe.bench.isl[0], recipe.bench.osl[0], recipe.bench.concurrency[-1]
    dataset, requests = f"dataset-{isl}-{osl}.jsonl", recipe.bench.requests
    bench = commands.bench(release, model, model_dir, args_file, dataset, args=args, concurrency=concurrency)
    return Launch(
        {
            "serve": Command(tuple(commands.serve(release, model_dir, args_file))),
            "dataset": commands.prepare_dataset(release, model, dataset, requests=requests, isl=isl, osl=osl),
            "bench": Command(tuple(bench)),
        },
        commands.triton_model_yaml(args, model=model_dir),
        dict(found.env) if found else {},
    )
