"""What a checkpoint's JSON says about its quantisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.checkpoint.names import CONFIG, QUANT_CONFIG
from toolkit.checkpoint.words import CORRECT, short
from toolkit.errors import CheckpointError

_FLAT = frozenset({"quant_algo", "quant_method", "config_groups"})
_EXCLUDES = ("ignore", "modules_to_not_convert", "exclude_modules")


@dataclass(frozen=True, slots=True)
class QuantSummary:
    """``kv_cache_algo`` None means an unquantised KV cache.

    ``exclude_modules`` is as written: ModelOpt lists neither BF16 routers nor embeddings up to 0.44, and in 0.39 it
    repeats entries. A tensor's dtype, not this list, tells whether it is quantised.
    """

    algo: str | None
    group_size: int | None
    exclude_modules: tuple[str, ...]
    kv_cache_algo: str | None
    producer: str | None
    version: str | None


def quant_summary(
    config: Mapping[str, Any], quant_config: Mapping[str, Any] | None, folder: str
) -> QuantSummary | None:
    """From ``hf_quant_config.json``, else from ``quantization_config`` of ``config.json``.

    The file has one of two shapes, and TensorRT-LLM reads both: ``{"producer": …, "quantization": {…}}``, as ModelOpt
    0.x writes it, or flat, as ``quantization_config`` is.

    Raises ``CheckpointError`` where either is not what it should be; ``folder`` is for its message.
    """
    inline = _inline(config, f"{folder}/{CONFIG}")
    return inline if quant_config is None else _from_hf_quant_config(quant_config, f"{folder}/{QUANT_CONFIG}")


def _from_hf_quant_config(quant_config: Mapping[str, Any], where: str) -> QuantSummary:
    quantization = quant_config.get("quantization")
    if "quantization" not in quant_config and not _FLAT.isdisjoint(quant_config):
        return _from_flat(quant_config, where)
    if not isinstance(quantization, Mapping):
        raise _malformed("quantization", quantization, "an object", where)
    producer = _object(quant_config, "producer", where)
    return QuantSummary(
        algo=_text(quantization, "quant_algo", where),
        group_size=_count(quantization, "group_size", where),
        exclude_modules=_names(quantization, "exclude_modules", where),
        kv_cache_algo=_kv_cache_quant_algo(quantization, where),
        producer=_text(producer, "name", where),
        version=_text(producer, "version", where),
    )


def _inline(config: Mapping[str, Any], where: str) -> QuantSummary | None:
    """``config.json: quantization_config`` as ModelOpt ≥ 0.35 writes it; ``quant_method`` alone for other producers."""
    inline = _object(config, "quantization_config", where)
    return _from_flat(inline, where) if inline else None


def _from_flat(inline: Mapping[str, Any], where: str) -> QuantSummary:
    """The keys of ``quantization_config``, and in their absence those of ``hf_quant_config.json: quantization``."""
    weights = _nested(inline, "config_groups", "group_0", "weights")
    producer = _object(inline, "producer", where)
    return QuantSummary(
        algo=_text(inline, "quant_algo", where) or _text(inline, "quant_method", where),
        group_size=_count(weights if "group_size" in weights else inline, "group_size", where),
        exclude_modules=next((names for key in _EXCLUDES if (names := _names(inline, key, where))), ()),
        kv_cache_algo=_kv_cache_algo(inline.get("kv_cache_scheme")) or _kv_cache_quant_algo(inline, where),
        producer=_text(producer, "name", where),
        version=_text(producer, "version", where),
    )


def _kv_cache_algo(scheme: object) -> str | None:
    """ModelOpt writes FP8 as a mapping with ``num_bits`` 8 and NVFP4 as the bare string."""
    if isinstance(scheme, Mapping):
        return "FP8" if scheme.get("num_bits") == 8 and scheme.get("type") == "float" else None
    return scheme if isinstance(scheme, str) else None


def _kv_cache_quant_algo(mapping: Mapping[str, Any], where: str) -> str | None:
    """``none`` is TensorRT-LLM's other word for null."""
    algo = _text(mapping, "kv_cache_quant_algo", where)
    return None if algo is None or algo.lower() == "none" else algo


def _nested(mapping: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The mapping inside, or an empty one where the nesting is another."""
    inner: object = mapping
    for key in keys:
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _object(mapping: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _malformed(key, value, "an object", where)
    return value


def _text(mapping: Mapping[str, Any], key: str, where: str) -> str | None:
    value = mapping.get(key)
    if value is not None and not isinstance(value, str):
        raise _malformed(key, value, "text", where)
    return value


def _count(mapping: Mapping[str, Any], key: str, where: str) -> int | None:
    value = mapping.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise _malformed(key, value, "a whole number", where)
    return value


def _names(mapping: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = mapping.get(key)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise _malformed(key, value, "a list of names", where)
    return tuple(value)


def _malformed(key: str, value: object, expected: str, where: str) -> CheckpointError:
    return CheckpointError(f"{key} is {short(value)}, not {expected}", where=where, hint=CORRECT)
