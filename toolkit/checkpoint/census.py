"""What a checkpoint is, as pure data: names, types, shapes and JSON, no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.quant import QuantSummary, quant_summary
from toolkit.checkpoint.source import CONFIG, Checkpoint, reading
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
    architectures = checkpoint.config.get("architectures")
    if not isinstance(architectures, list) or len(architectures) != 1 or not isinstance(architectures[0], str):
        where = str(checkpoint.path(CONFIG))
        raise CheckpointError(f"architectures is {architectures!r}, not a list of one name", where=where)
    folder = checkpoint.folder
    with reading(folder):
        shards = {file: checkpoint.path(file).stat().st_size for file in checkpoint.shards}
        files = tuple(sorted(path.name for path in folder.iterdir() if path.is_file()))
    return Census(
        architecture=architectures[0],
        config=checkpoint.config,
        quant_config=checkpoint.quant_config,
        quant=quant_summary(checkpoint.config, checkpoint.quant_config, str(folder)),
        tensors=checkpoint.tensors,
        shards=shards,
        files=files,
        where=str(folder),
    )
