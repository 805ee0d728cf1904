"""The JSON files of a bundle that differ from the checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit import __version__
from toolkit.checkpoint.census import Census
from toolkit.checkpoint.source import CONFIG, INDEX, QUANT_CONFIG
from toolkit.models.gpt_oss import MXFP4_CONFIG
from toolkit.models.layout import Layout
from toolkit.numerics import nvfp4
from toolkit.plan.declared import agrees, algo_of, kv_algo
from toolkit.plan.types import ShardPlan

_BITS = {"NVFP4": {"num_bits": 4, "type": "float", "group_size": nvfp4.BLOCK}, "FP8": {"num_bits": 8, "type": "float"}}


@dataclass(frozen=True, slots=True)
class JsonFiles:
    """``files`` are rewritten whole; ``dropped`` are the checkpoint's that must not go along."""

    files: Mapping[str, Any]
    dropped: tuple[str, ...] = ()


def rewritten(
    census: Census, stored: Layout, bundle: Layout, exclude: Sequence[str] | None, shards: Sequence[ShardPlan]
) -> JsonFiles:
    """``exclude`` is the list that the loader needs; None where the checkpoint's JSON says all of it already."""
    files: dict[str, Any] = {}
    dropped: tuple[str, ...] = ()
    algo = algo_of(bundle)
    if algo in _BITS:
        files |= _modelopt(census, stored, bundle, list(exclude)) if exclude is not None else {}
    elif bundle != stored or not agrees(census, stored):
        config = {key: value for key, value in census.config.items() if key != "quantization_config"}
        files[CONFIG] = {**config, "quantization_config": MXFP4_CONFIG} if algo == "MXFP4" else config
        dropped = (QUANT_CONFIG,)
    if INDEX in census.files and any(not shard.unchanged for shard in shards):
        files[INDEX] = _index(shards)
    return JsonFiles(files, dropped)


def _modelopt(census: Census, stored: Layout, bundle: Layout, exclude: list[str]) -> dict[str, Any]:
    """Both quantisation files with ``exclude``, the checkpoint's own edited where they are about the same format.

    The inline one is written only where the checkpoint has it, or had another format's.
    """
    config, algo = census.config, str(algo_of(bundle))
    own, inline = census.quant_config or {}, dict(config.get("quantization_config") or {})
    producer = own.get("producer") or inline.get("producer") or {"name": "modelopt"}
    if stored.ffn != bundle.ffn:
        producer, own = {"name": "trtkit", "version": __version__}, {}
        inline = _inline(algo, producer)
    elif inline and not agrees(census, stored):
        inline = {**inline, **_inline(algo, producer)}
    quantization = {
        "quant_algo": algo,
        "kv_cache_quant_algo": kv_algo(census, stored, bundle),
        **({"group_size": nvfp4.BLOCK} if algo == "NVFP4" else {}),
        "exclude_modules": exclude,
    }
    quantization = {**own.get("quantization", {}), **quantization}
    files = {CONFIG: {**config, "quantization_config": {**inline, "ignore": exclude}}} if inline else {}
    return {**files, QUANT_CONFIG: {**own, "producer": producer, "quantization": quantization}}


def _inline(algo: str, producer: Mapping[str, Any]) -> dict[str, Any]:
    """``quantization_config`` in the shape of ModelOpt 0.35 and later."""
    values = {"dynamic": False, **_BITS[algo]}
    return {
        "config_groups": {"group_0": {"input_activations": values, "weights": values, "targets": ["Linear"]}},
        "ignore": [],
        "quant_algo": algo,
        "producer": dict(producer),
        "quant_method": "modelopt",
    }


def _index(shards: Sequence[ShardPlan]) -> dict[str, Any]:
    outputs = [(action, shard.file) for shard in shards for action in shard.actions if action.output is not None]
    return {
        "metadata": {"total_size": sum(action.nbytes for action, _ in outputs)},
        "weight_map": {action.output: file for action, file in sorted(outputs, key=lambda item: str(item[0].output))},
    }
