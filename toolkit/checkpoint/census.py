"""What a checkpoint is, as pure data: names, types, shapes and JSON, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.source import CONFIG, TOKENIZER, Checkpoint
from toolkit.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class QuantSummary:
    """What the checkpoint says about its quantisation. ``kv_cache_algo`` None means an unquantised KV cache.

    ``exclude_modules`` is as written: ModelOpt lists neither BF16 routers nor embeddings up to 0.44, and in 0.39 it
    repeats entries. A tensor's dtype, not this list, tells whether it is quantised.
    """

    algo: str | None
    group_size: int | None
    exclude_modules: tuple[str, ...]
    kv_cache_algo: str | None
    producer: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Census:
    """``tensors`` in the order of their bytes; ``shards`` maps file name to file size; ``files`` names the folder's."""

    architecture: str
    config: Mapping[str, Any]
    quant_config: Mapping[str, Any] | None
    tensors: Mapping[str, TensorInfo]
    shards: Mapping[str, int]
    files: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors, headers not counted."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def has_tokenizer(self) -> bool:
        return TOKENIZER in self.files

    @property
    def quant(self) -> QuantSummary | None:
        """From ``hf_quant_config.json`` (the same in every ModelOpt version), else from ``quantization_config``."""
        if self.quant_config is not None:
            return _from_hf_quant_config(self.quant_config)
        inline = self.config.get("quantization_config")
        return _from_inline(inline) if isinstance(inline, Mapping) else None


def take_census(checkpoint: Checkpoint) -> Census:
    """Raises CheckpointError if config.json does not name exactly one architecture."""
    architectures = checkpoint.config.get("architectures")
    if not isinstance(architectures, list) or len(architectures) != 1 or not isinstance(architectures[0], str):
        where = str(checkpoint.path(CONFIG))
        raise CheckpointError(f"architectures is {architectures!r}, not a list of one name", where=where)
    return Census(
        architecture=architectures[0],
        config=checkpoint.config,
        quant_config=checkpoint.quant_config,
        tensors=checkpoint.tensors,
        shards={file: checkpoint.path(file).stat().st_size for file in checkpoint.shards},
        files=tuple(sorted(path.name for path in checkpoint.folder.iterdir() if path.is_file())),
    )


def _from_hf_quant_config(quant_config: Mapping[str, Any]) -> QuantSummary:
    quantization, producer = _section(quant_config, "quantization"), _section(quant_config, "producer")
    return QuantSummary(
        algo=quantization.get("quant_algo"),
        group_size=quantization.get("group_size"),
        exclude_modules=tuple(quantization.get("exclude_modules") or ()),
        kv_cache_algo=quantization.get("kv_cache_quant_algo"),
        producer=producer.get("name"),
        version=producer.get("version"),
    )


def _from_inline(inline: Mapping[str, Any]) -> QuantSummary:
    """``config.json: quantization_config`` as ModelOpt ≥ 0.35 writes it; ``quant_method`` alone for other producers."""
    weights = _section(_section(_section(inline, "config_groups"), "group_0"), "weights")
    producer = _section(inline, "producer")
    return QuantSummary(
        algo=inline.get("quant_algo") or inline.get("quant_method"),
        group_size=weights.get("group_size"),
        exclude_modules=tuple(inline.get("ignore") or inline.get("modules_to_not_convert") or ()),
        kv_cache_algo=_kv_cache_algo(inline.get("kv_cache_scheme")),
        producer=producer.get("name"),
        version=producer.get("version"),
    )


def _kv_cache_algo(scheme: object) -> str | None:
    """ModelOpt writes FP8 as a mapping with ``num_bits`` 8 and NVFP4 as the bare string."""
    if isinstance(scheme, Mapping):
        return "FP8" if scheme.get("num_bits") == 8 and scheme.get("type") == "float" else None
    return scheme if isinstance(scheme, str) else None


def _section(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}
