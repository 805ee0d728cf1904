"""What a checkpoint is, as pure data: names, types, shapes and JSON, no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.names import CONFIG
from toolkit.checkpoint.parts import Parts
from toolkit.checkpoint.quant import QuantSummary, quant_summary
from toolkit.checkpoint.source import Checkpoint, reading
from toolkit.checkpoint.words import short
from toolkit.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Census:
    """``tensors`` in the order of their bytes; ``shards`` maps file name to file size; ``files`` names the folder's.

    ``where`` is how an error names the checkpoint: its folder, or ``hub:owner/name`` for one that is not here.
    """

    architecture: str
    config: Mapping[str, Any]
    quant_config: Mapping[str, Any] | None
    quant: QuantSummary | None
    tensors: Mapping[str, TensorInfo]
    shards: Mapping[str, int]
    files: tuple[str, ...]
    where: str


def take_census(checkpoint: Checkpoint) -> Census:
    """Raises CheckpointError unless config.json names exactly one architecture and its quantisation is well formed."""
    folder = checkpoint.folder
    with reading(folder):
        sizes = {file: checkpoint.path(file).stat().st_size for file in checkpoint.shards}
        files = tuple(sorted(path.name for path in folder.iterdir() if _is_file(path)))
    parts = Parts(checkpoint.config, checkpoint.quant_config, checkpoint.tensors)
    return census_of_parts(parts, sizes=sizes, files=files, where=str(folder))


def _is_file(path: Path) -> bool:
    """False also for a link into a folder that may not be searched; the checkpoint's own files have been read."""
    try:
        return path.is_file()
    except OSError:
        return False


def census_of_parts(parts: Parts, *, sizes: Mapping[str, int], files: Sequence[str], where: str) -> Census:
    """Raises as ``take_census``. ``sizes`` has the bytes of each shard at least, ``files`` is what lies beside them."""
    shards = dict.fromkeys(tensor.shard for tensor in parts.tensors.values())
    return Census(
        architecture=_architecture(parts.config, f"{where}/{CONFIG}"),
        config=parts.config,
        quant_config=parts.quant_config,
        quant=quant_summary(parts.config, parts.quant_config, where),
        tensors=parts.tensors,
        shards={file: sizes[file] for file in shards},
        files=tuple(files),
        where=where,
    )


def _architecture(config: Mapping[str, Any], where: str) -> str:
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or len(architectures) != 1 or not isinstance(architectures[0], str):
        what = f"architectures is {short(architectures)}, not a list of one name"
        hint = 'Name the model class there as in "architectures": ["GptOssForCausalLM"]'
        raise CheckpointError(what, where=where, hint=hint)
    return architectures[0]
