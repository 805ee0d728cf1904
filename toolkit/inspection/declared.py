"""What a checkpoint's JSON says its weights are, in this room's words for formats.

``quant_algo`` as ModelOpt 0.37 writes it (``process_layer_quant_config`` of its ``export/quant_utils.py``)::

    NVFP4, NVFP4_AWQ, W4A16_NVFP4      nvfp4, one block scale for 16 weights
    W4A8_NVFP4_FP8                     nvfp4, one block scale for 32 weights
    MXFP4, W4A8_MXFP4_FP8              mxfp4
    FP8, FP8_PER_CHANNEL_PER_TOKEN, fp8_pb_wo …    fp8
    W4A16_AWQ, W4A8_AWQ                int4
    W8A8_SQ_PER_CHANNEL                int8
    MIXED_PRECISION                    one of these for each module, in ``quantized_layers``
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.checkpoint.census import Census
from toolkit.numerics.nvfp4 import BLOCK

MIXED = "MIXED_PRECISION"
MODELLED = frozenset({"", "NVFP4", "W4A16_NVFP4", "FP8", "MXFP4"})
"""Algorithms whose tensors ``toolkit.models`` has."""
MODELLED_KV = frozenset({"", "FP8", "NVFP4"})
_NOTHING = ("NONE", "NO_QUANT")


def inline_config(census: Census) -> Mapping[str, Any]:
    """``quantization_config`` of config.json, empty where there is none."""
    inline = census.config.get("quantization_config")
    return inline if isinstance(inline, Mapping) else {}


def is_modelopt(inline: Mapping[str, Any]) -> bool:
    """As TensorRT-LLM tells ModelOpt's block from others; ModelOpt 0.31 to 0.33 writes no ``quant_method``."""
    method, producer = inline.get("quant_method"), inline.get("producer")
    by_modelopt = isinstance(producer, Mapping) and producer.get("name") == "modelopt"
    return method is None or str(method).startswith("modelopt") or by_modelopt


def algorithm(census: Census) -> str:
    """Upper case, empty where none is named: ModelOpt's ``quant_method`` is the name of a tool, not of an algorithm."""
    if census.quant is None:
        return ""
    inline = inline_config(census)
    named = census.quant_config is not None or not is_modelopt(inline) or isinstance(inline.get("quant_algo"), str)
    return _upper(census.quant.algo) if named else ""


def kv_algorithm(census: Census) -> str:
    """Upper case, empty for an unquantised KV cache."""
    return _upper(census.quant.kv_cache_algo) if census.quant else ""


def quantized_layers(census: Census) -> dict[str, str]:
    """Module → algorithm (upper case) of a MIXED_PRECISION checkpoint; empty where none is said."""
    said = (census.quant_config or {}).get("quantization")
    layers = said.get("quantized_layers") if isinstance(said, Mapping) else None
    if not isinstance(layers, Mapping):
        return {}
    algos = {name: entry.get("quant_algo") for name, entry in layers.items() if isinstance(entry, Mapping)}
    return {name: _upper(algo) for name, algo in algos.items() if isinstance(algo, str)}


def algorithm_of(name: str, algo: str, layers: Mapping[str, str]) -> str:
    """A module's algorithm: under MIXED_PRECISION that of the entry for it or a module that holds it, else ``algo``."""
    while algo == MIXED and name:
        if name in layers:
            return layers[name]
        name = name.rpartition(".")[0]
    return "" if algo == MIXED else algo


def format_of(algo: str) -> str | None:
    """None where the name alone does not tell (MIXED_PRECISION, methods of other producers)."""
    if "NVFP4" in algo or "MXFP4" in algo:
        return "nvfp4" if "NVFP4" in algo else "mxfp4"
    if algo.startswith("FP8"):
        return "fp8"
    return {"W4A16_AWQ": "int4", "W4A8_AWQ": "int4", "W8A8_SQ_PER_CHANNEL": "int8"}.get(algo)


def group_of(algo: str) -> int:
    """Weights for one E4M3 block scale."""
    return 2 * BLOCK if algo == "W4A8_NVFP4_FP8" else BLOCK


def _upper(text: str | None) -> str:
    upper = (text or "").upper()
    return "" if upper in _NOTHING else upper
