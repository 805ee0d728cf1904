"""The JSON files of a bundle that differ from the checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit import __version__
from toolkit.checkpoint.census import Census
from toolkit.checkpoint.source import CONFIG, INDEX, QUANT_CONFIG
from toolkit.models.layout import Layout
from toolkit.numerics import nvfp4
from toolkit.plan.types import ShardPlan

# as openai/gpt-oss-120b and -20b have it
MXFP4_CONFIG = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


@dataclass(frozen=True, slots=True)
class JsonFiles:
    """``files`` are rewritten whole; ``dropped`` are the checkpoint's that must not go along."""

    files: Mapping[str, Any]
    dropped: tuple[str, ...] = ()


def rewritten(
    census: Census, stored: Layout, bundle: Layout, exclude: Sequence[str] | None, shards: Sequence[ShardPlan]
) -> JsonFiles:
    """``exclude`` is the list that the loader needs; None where the checkpoint's JSON says it already."""
    files: dict[str, Any] = {}
    dropped: tuple[str, ...] = ()
    if bundle.ffn == "nvfp4" and exclude is not None:
        files |= _nvfp4(census, stored, list(exclude))
    elif bundle.ffn != "nvfp4" and bundle != stored:
        config = {key: value for key, value in census.config.items() if key != "quantization_config"}
        files[CONFIG] = {**config, "quantization_config": MXFP4_CONFIG} if bundle.ffn == "mxfp4" else config
        dropped = (QUANT_CONFIG,)
    if INDEX in census.files and any(not shard.unchanged for shard in shards):
        files[INDEX] = _index(shards)
    return JsonFiles(files, dropped)


def _nvfp4(census: Census, stored: Layout, exclude: list[str]) -> dict[str, Any]:
    """Both quantisation files with ``exclude``; the inline one only where the checkpoint has it or had another's."""
    config = census.config
    inline = dict(config.get("quantization_config") or {})
    producer = (census.quant_config or {}).get("producer") or inline.get("producer") or {"name": "modelopt"}
    if stored.ffn != "nvfp4":
        producer = {"name": "trtkit", "version": __version__}
        inline = _inline(producer)
    quantization = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": census.quant.kv_cache_algo if census.quant else None,
        "group_size": nvfp4.BLOCK,
        "exclude_modules": exclude,
    }
    files = {CONFIG: {**config, "quantization_config": {**inline, "ignore": exclude}}} if inline else {}
    return {**files, QUANT_CONFIG: {"producer": producer, "quantization": quantization}}


def _inline(producer: Mapping[str, Any]) -> dict[str, Any]:
    """``quantization_config`` in the shape of ModelOpt 0.35 and later."""
    fp4 = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": nvfp4.BLOCK}
    return {
        "config_groups": {"group_0": {"input_activations": fp4, "weights": fp4, "targets": ["Linear"]}},
        "ignore": [],
        "quant_algo": "NVFP4",
        "producer": dict(producer),
        "quant_method": "modelopt",
    }


def _index(shards: Sequence[ShardPlan]) -> dict[str, Any]:
    outputs = [(action, shard.file) for shard in shards for action in shard.actions if action.output is not None]
    return {
        "metadata": {"total_size": sum(action.nbytes for action, _ in outputs)},
        "weight_map": {action.output: file for action, file in sorted(outputs, key=lambda item: str(item[0].output))},
    }
