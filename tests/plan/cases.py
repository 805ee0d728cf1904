"""Recipes, and checkpoints as headers alone, for the tests of planning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.models import layouts
from toolkit import recipe
from toolkit.checkpoint.census import Census, take_census
from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.quant import quant_summary
from toolkit.checkpoint.source import Checkpoint
from toolkit.models.geometry import Spec
from toolkit.models.known import predicted_census
from toolkit.plan import Plan, make_plan
from toolkit.recipe import Recipe

ROOT = Path(__file__).parents[2]
GPT_OSS_120B_NVFP4, GPT_OSS_120B, GPT_OSS_20B = (
    "Firworks/gpt-oss-120b-nvfp4",
    "openai/gpt-oss-120b",
    "openai/gpt-oss-20b",
)
LLAMA_8B, QWEN3_30B = "nvidia/Llama-3.1-8B-Instruct-NVFP4", "nvidia/Qwen3-30B-A3B-NVFP4"
B200 = ("target.runtime=tensorrt-llm", "target.release=1.2.1", "target.gpu=b200")
PRODUCER = {"name": "modelopt", "version": "0.37.0"}


def cpu_recipe(*overrides: str) -> Recipe:
    """The tiny recipe, for the CPU unless overridden."""
    return recipe.load(ROOT / "recipes/tiny-gpt-oss/cpu.yaml", overrides)


def tiny(*overrides: str) -> Recipe:
    """For one B200 with TensorRT-LLM 1.2.1, and the context of ``layouts.json``'s models."""
    return cpu_recipe(*B200, "engine.max_seq_len=256", *overrides)


def published(repo: str, *overrides: str) -> Recipe:
    """A published checkpoint on one B200 with TensorRT-LLM 1.2.1; FP8 KV cache, contexts 2048 and 9216."""
    return recipe.load(ROOT / "recipes/gpt-oss-120b/b200.yaml", (f"checkpoint.repo={repo}", *overrides))


def plan_published(repo: str, *overrides: str, layers: int | None = None) -> Plan:
    """Predicted, as without a download; with ``layers``, of a model that has only so many."""
    return make_plan(published(repo, *overrides), predicted(repo, layers), predicted=True)


@cache
def predicted(repo: str, layers: int | None = None) -> Census:
    census = predicted_census(repo)
    assert census is not None, repo
    return census if layers is None else _shallow(census, layers)


def _shallow(census: Census, layers: int) -> Census:

    def is_there(name: str) -> bool:
        return not name.startswith("model.layers.") or int(name.split(".")[2]) < layers

    tensors = {name: info for name, info in census.tensors.items() if is_there(name)}
    kinds = census.config.get("layer_types")
    cut = {"layer_types": kinds[:layers]} if kinds else {}
    return replace(census, tensors=tensors, config={**census.config, "num_hidden_layers": layers, **cut})


def census_of(folder: Path) -> Census:
    with Checkpoint.open(folder) as source:
        return take_census(source)


def census(
    case: str,
    *,
    tensors: Mapping[str, Spec] | None = None,
    exclude: Sequence[str] | None = None,
    kv: str | None = None,
    inline: bool = True,
    own: bool = True,
    files: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> Census:
    """A checkpoint of ``tests.models.layouts`` from its headers, in one shard.

    ``exclude`` is the list of its quantisation JSON, which there is none of without; ``inline`` and ``own`` say whether
    it stands in config.json and in hf_quant_config.json.
    """
    specs = layouts.case(case)[2] if tensors is None else dict(tensors)
    whole = {**layouts.CASES[case]["config"], **(config or {})}
    quant_config = None
    if exclude is not None:
        whole |= {"quantization_config": inline_quant(exclude)} if inline else {}
        quant_config = quant_file(exclude, kv) if own else None
    names = ["config.json", *(["hf_quant_config.json"] if quant_config else []), *files]
    return Census(
        architecture=whole["architectures"][0],
        config=whole,
        quant_config=quant_config,
        quant=quant_summary(whole, quant_config, case),
        tensors=layouts.infos(specs),
        shards={layouts.SHARD: 0},
        files=tuple(names),
        where=case,
    )


def inline_quant(exclude: Sequence[str]) -> dict[str, Any]:
    """``quantization_config`` as ModelOpt 0.37 writes it (facts of the exports in samples/)."""
    fp4 = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}
    return {
        "config_groups": {"group_0": {"input_activations": fp4, "weights": fp4, "targets": ["Linear"]}},
        "ignore": list(exclude),
        "quant_algo": "NVFP4",
        "producer": PRODUCER,
        "quant_method": "modelopt",
    }


def quant_file(exclude: Sequence[str], kv: str | None = None) -> dict[str, Any]:
    """``hf_quant_config.json`` as ModelOpt writes it."""
    quantization = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": kv,
        "group_size": 16,
        "exclude_modules": list(exclude),
    }
    return {"producer": PRODUCER, "quantization": quantization}


def scalars(*names: str, shape: tuple[int, ...] = (), dtype: str = "F32") -> dict[str, TensorInfo]:
    """Headers of a calibrated export as far as its scales go."""
    return layouts.infos(dict.fromkeys(names, (dtype, shape)))


def written(plan: Plan) -> dict[str, Spec]:
    """Name → (dtype, shape) of what the bundle holds; no name twice."""
    outputs = [(str(a.output), (str(a.dtype), a.shape)) for a in plan.actions if a.output is not None]
    assert len(dict(outputs)) == len(outputs), "an output is written twice"
    return dict(outputs)


def whats(plan: Plan) -> list[str]:
    return [refusal.what for refusal in plan.refusals]


def modelopt_layouts() -> dict[str, Any]:
    """One small gpt-oss as ModelOpt 0.37.0 exported it with two configurations."""
    golden: dict[str, Any] = json.loads((Path(__file__).parent / "modelopt_layouts.json").read_text())
    for name in ("default", "mlp_only"):
        golden[name] = {tensor: (dtype, tuple(shape)) for tensor, (dtype, shape) in golden[name].items()}
    return golden
