"""A checkpoint folder as one mapping of tensors, whatever its number of shards.

Reads what Hugging Face ``save_pretrained`` and ModelOpt's ``export_hf_checkpoint`` write: ``config.json``, the
weights with or without ``model.safetensors.index.json``, and ``hf_quant_config.json`` where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from toolkit.checkpoint.safetensors import Shard, TensorInfo, read_header
from toolkit.errors import CheckpointError

CONFIG = "config.json"
QUANT_CONFIG = "hf_quant_config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
GENERATION_CONFIG = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_SAME_EXPORT = "Take the index and the shards from one export"
_COMPLETE = "Complete the download, or point checkpoint.path at a complete folder"


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn an ``OSError`` into a ``CheckpointError`` that names the file, or ``folder`` where the error has none."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or folder)
        raise CheckpointError(f"cannot be read ({error.strerror})", where=where) from error


def is_complete(folder: Path) -> bool:
    """Whether config.json and every shard are there; raises ``CheckpointError`` for an index that is none."""
    with reading(folder):
        if not (folder / CONFIG).is_file():
            return False
        if (folder / INDEX).is_file():
            return all((folder / file).is_file() for file in set(_read_weight_map(folder / INDEX).values()))
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
            if not folder.is_dir():
                hint = "Set checkpoint.path to the checkpoint's folder"
                raise CheckpointError("no such folder", where=str(folder), hint=hint)
            config = read_json(folder / CONFIG)
            quant_config = read_json(folder / QUANT_CONFIG) if (folder / QUANT_CONFIG).exists() else None
            if (folder / INDEX).exists():
                tensors = _tensors_of_index(folder, _read_weight_map(folder / INDEX))
            else:
                tensors = _tensors_of_single(folder)
        return cls(folder, config, quant_config, tuple(dict.fromkeys(t.shard for t in tensors.values())), tensors)

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
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing", where=str(path.parent), hint=_COMPLETE)
    try:
        value = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise CheckpointError(f"is not JSON ({error})", where=str(path)) from error
    except (RecursionError, ValueError) as error:
        reason = {RecursionError: "nested too deep", UnicodeDecodeError: "not UTF-8"}.get(type(error))
        raise CheckpointError(f"is not JSON ({reason or 'a number is too long'})", where=str(path)) from error
    if not isinstance(value, dict):
        raise CheckpointError("is not a JSON object", where=str(path))
    return value


def _read_weight_map(path: Path) -> dict[str, str]:
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("weight_map is missing or empty", where=str(path))
    for name, file in weight_map.items():
        if not isinstance(file, str) or file in ("", "..") or Path(file).name != file:
            raise CheckpointError(f"weight_map sends {name!r} to {file!r}, not a file name", where=str(path))
    return weight_map


def _tensors_of_index(folder: Path, weight_map: dict[str, str]) -> dict[str, TensorInfo]:
    index = folder / INDEX
    tensors: dict[str, TensorInfo] = {}
    for file in sorted(set(weight_map.values())):
        if not (folder / file).is_file():
            raise CheckpointError(f"the shard {file!r} is missing", where=str(index), hint=_COMPLETE)
        found, _ = read_header(folder / file)
        for name, info in found.items():
            if weight_map.get(name) != file:
                owner = f"the index has it in {weight_map[name]!r}" if name in weight_map else "the index lacks it"
                where = f"{folder / file}, tensor {name!r}, byte {info.begin}"
                raise CheckpointError(f"is in this shard, but {owner}", where=where, hint=_SAME_EXPORT)
        tensors |= found
    for name, file in weight_map.items():
        if name not in tensors:
            raise CheckpointError(f"tensor {name!r} is not in the shard {file!r}", where=str(index), hint=_SAME_EXPORT)
    return tensors


def _tensors_of_single(folder: Path) -> dict[str, TensorInfo]:
    if not (folder / SINGLE).is_file():
        raise CheckpointError(f"neither {INDEX} nor {SINGLE} is there", where=str(folder), hint=_COMPLETE)
    return read_header(folder / SINGLE)[0]
