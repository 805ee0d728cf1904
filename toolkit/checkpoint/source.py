"""A checkpoint folder as one mapping of tensors, whatever its number of shards.

Reads what Hugging Face ``save_pretrained`` and ModelOpt's ``export_hf_checkpoint`` write: ``config.json``, the
weights with or without ``model.safetensors.index.json``, and ``hf_quant_config.json`` where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from toolkit.checkpoint.names import (
    CONFIG,
    GENERATION_CONFIG,
    INDEX,
    QUANT_CONFIG,
    SINGLE,
    TOKENIZER,
    TOKENIZER_FILES,
)
from toolkit.checkpoint.parts import MAX_JSON_BYTES, Headers, parse_json, read_parts, weight_map
from toolkit.checkpoint.regular import file_names, open_regular, reading
from toolkit.checkpoint.safetensors import Shard, TensorInfo, read_header
from toolkit.checkpoint.words import COMPLETE, RECOVER
from toolkit.errors import CheckpointError

__all__ = [
    "CONFIG",
    "GENERATION_CONFIG",
    "INDEX",
    "QUANT_CONFIG",
    "SINGLE",
    "TOKENIZER",
    "TOKENIZER_FILES",
    "Checkpoint",
    "is_complete",
    "read_json",
    "reading",
]


@dataclass(frozen=True)
class Folder:
    """A ``Store`` on disk."""

    path: Path

    hint = None

    @property
    def where(self) -> str:
        return str(self.path)

    @cached_property
    def files(self) -> tuple[str, ...]:
        return file_names(self.path)

    def read(self, file: str) -> bytes:
        return _read_small(self.path / file)

    def headers(self, files: Sequence[str]) -> Headers:
        for file in files:
            yield file, read_header(self.path / file)[0]


def is_complete(folder: Path) -> bool:
    """Whether config.json and every shard are there; raises ``CheckpointError`` for an index that is none."""
    with reading(folder):
        if not (folder / CONFIG).is_file():
            return False
        index = folder / INDEX
        if index.is_file():
            return all((folder / file).is_file() for file in set(weight_map(str(index), read_json(index)).values()))
        return (folder / SINGLE).is_file()


class Checkpoint:
    """An opened folder. Headers are read and checked at opening; shards are mapped when a tensor is first asked for.

    ``tensors`` is ordered by shard, then by offset.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        quant_config: dict[str, Any] | None,
        shards: tuple[str, ...],
        tensors: dict[str, TensorInfo],
    ) -> None:
        self.folder = folder
        self.config = config
        self.quant_config = quant_config
        self.shards = shards
        self.tensors = tensors
        self._open: dict[str, Shard] = {}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises CheckpointError if a file is missing, damaged or may not be read, or if index and shards disagree."""
        with reading(folder):
            parts = read_parts(Folder(folder))
        shards = tuple(dict.fromkeys(tensor.shard for tensor in parts.tensors.values()))
        return cls(folder, parts.config, parts.quant_config, shards, parts.tensors)

    def path(self, file: str) -> Path:
        """Where ``file`` of this checkpoint is or would be."""
        return self.folder / file

    def array(self, name: str) -> NDArray[Any]:
        """Read-only view as of ``Shard.array``: BF16 as uint16 bits, 8-bit floats as uint8 bits."""
        return self._shard_of(name).array(name)

    def raw(self, name: str) -> memoryview:
        """The tensor's bytes, read-only, not copied."""
        return self._shard_of(name).raw(name)

    def release(self, name: str) -> None:
        """As ``Shard.release``: whoever is done with a tensor keeps memory bounded by the next one."""
        self._shard_of(name).release(name)

    def _shard_of(self, name: str) -> Shard:
        if name not in self.tensors:
            raise CheckpointError(f"no tensor {name!r}", where=str(self.folder))
        file = self.tensors[name].shard
        if file not in self._open:
            with reading(self.path(file)):
                self._open[file] = Shard.open(self.path(file))
        return self._open[file]

    def close(self) -> None:
        """Forget the mappings. Views handed out stay valid; the next ``array`` maps again."""
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, strictly read; ``CheckpointError`` if it is absent, unreadable, too large or none."""
    with reading(path):
        if not path.exists():
            raise CheckpointError(f"{path.name} is missing", where=str(path.parent), hint=COMPLETE)
        return parse_json(str(path), _read_small(path))


def _read_small(path: Path) -> bytes:
    with open_regular(path) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        what = f"is longer than {MAX_JSON_BYTES} bytes, too long for a JSON file of a checkpoint"
        raise CheckpointError(what, where=str(path), hint=RECOVER)
    return data
