"""What a checkpoint consists of, read from anywhere: its JSON files, its index and the headers of its shards."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.names import CONFIG, INDEX, QUANT_CONFIG, SINGLE, WEIGHTS
from toolkit.checkpoint.strict_json import NotAnObjectError, parse_object
from toolkit.checkpoint.words import COMPLETE, RECOVER, SAME_EXPORT, short
from toolkit.errors import CheckpointError

MAX_JSON_BYTES = 64 << 20  # an index of 400,000 tensors has 40 MB
MAX_TENSORS = 500_000  # a model of 61 layers of 384 experts in NVFP4 has 281,000
_NEWLINE = b"\n"

Headers = Generator[tuple[str, Mapping[str, TensorInfo]], None, None]


class Store(Protocol):
    """A place with a checkpoint's files: a folder, or a repository on the Hub.

    ``where`` is how errors name the place; ``hint``, where it is not None, is the next step for any fault of its files.
    """

    @property
    def where(self) -> str: ...

    @property
    def hint(self) -> str | None: ...

    @property
    def files(self) -> Sequence[str]: ...

    def read(self, file: str) -> bytes:
        """The whole file; ``CheckpointError`` for one of more than ``MAX_JSON_BYTES``."""

    def headers(self, files: Sequence[str]) -> Headers:
        """Each file's name and its tensors in the order of their bytes, file by file in this order."""


@dataclass(frozen=True, slots=True)
class Parts:
    """``tensors`` is ordered by shard, then by offset."""

    config: dict[str, Any]
    quant_config: dict[str, Any] | None
    tensors: dict[str, TensorInfo]


def read_parts(store: Store) -> Parts:
    """Raises CheckpointError if a file is missing, damaged or may not be read, or if index and shards disagree."""
    if CONFIG not in store.files:
        raise CheckpointError(f"{CONFIG} is missing", where=store.where, hint=store.hint or COMPLETE)
    config = _read_json(store, CONFIG, lenient=True)
    quant_config = _read_json(store, QUANT_CONFIG) if QUANT_CONFIG in store.files else None
    tensors = _tensors_of_index(store) if INDEX in store.files else _tensors_of_single(store)
    return Parts(config, quant_config, tensors)


def parse_json(where: str, data: bytes, *, lenient: bool = False, hint: str | None = None) -> dict[str, Any]:
    """The object in a JSON file; ``lenient`` as of ``strict_json``. Raises ``CheckpointError``."""
    try:
        return parse_object(data, lenient=lenient)
    except NotAnObjectError as error:
        line = "" if error.byte is None else f", line {1 + data[: error.byte].count(_NEWLINE)}"
        raise CheckpointError(f"is {error.reason}{line}", where=where, hint=hint or RECOVER) from None


def weight_map(where: str, index: Mapping[str, Any], *, hint: str | None = None) -> dict[str, str]:
    """Tensor name → file name of a parsed index; ``CheckpointError`` for a name that could lead out of its folder."""
    mapping = index.get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise CheckpointError("weight_map is missing or empty", where=where, hint=hint or RECOVER)
    if len(mapping) > MAX_TENSORS:
        what = f"weight_map names {len(mapping)} tensors, over the {MAX_TENSORS} that are read"
        raise CheckpointError(what, where=where, hint=hint or RECOVER)
    for name, file in mapping.items():
        if not _is_file_name(file):
            what = f"weight_map sends {short(name)} to {short(file)}, not a file name"
            raise CheckpointError(what, where=where, hint=hint or RECOVER)
    return mapping


def _is_file_name(file: object) -> bool:
    return isinstance(file, str) and file not in ("", "..") and PurePosixPath(file).name == file and file.isprintable()


def _read_json(store: Store, file: str, *, lenient: bool = False) -> dict[str, Any]:
    return parse_json(f"{store.where}/{file}", store.read(file), lenient=lenient, hint=store.hint)


def _tensors_of_index(store: Store) -> dict[str, TensorInfo]:
    index = f"{store.where}/{INDEX}"
    owners = weight_map(index, _read_json(store, INDEX), hint=store.hint)
    shards = sorted(set(owners.values()))
    for file in shards:
        if file not in store.files:
            raise CheckpointError(f"the shard {file!r} is missing", where=index, hint=store.hint or COMPLETE)
    tensors: dict[str, TensorInfo] = {}
    with closing(store.headers(shards)) as headers:
        for file, found in headers:
            _check_owners(store, file, found, owners)  # before the next: what the index lacks takes memory, too
            tensors |= found
    for name, file in owners.items():
        if name not in tensors:
            what = f"tensor {short(name)} is not in the shard {file!r}"
            raise CheckpointError(what, where=index, hint=store.hint or SAME_EXPORT)
    return tensors


def _check_owners(store: Store, file: str, tensors: Mapping[str, TensorInfo], owners: Mapping[str, str]) -> None:
    for name, info in tensors.items():
        if owners.get(name) != file:
            owner = f"the index has it in {owners[name]!r}" if name in owners else "the index lacks it"
            where = f"{store.where}/{file}, tensor {short(name)}, byte {info.begin}"
            raise CheckpointError(f"is in this shard, but {owner}", where=where, hint=store.hint or SAME_EXPORT)


def _tensors_of_single(store: Store) -> dict[str, TensorInfo]:
    if SINGLE not in store.files:
        raise _no_weights(store)
    ((_, tensors),) = store.headers([SINGLE])
    return dict(tensors)


def _no_weights(store: Store) -> CheckpointError:
    shards = [file for file in store.files if file.endswith(WEIGHTS)]
    if not shards:
        what, hint = f"neither {INDEX} nor {SINGLE} is there", COMPLETE
    elif len(shards) == 1:
        what, hint = f"the only weights are {short(shards[0])}, not {SINGLE}", f"Rename that file to {SINGLE}"
    else:
        what = f"{len(shards)} shards ({short(shards[0])} …) are there, but no {INDEX}"
        hint = "Fetch the index from where the shards came from"
    return CheckpointError(what, where=store.where, hint=store.hint or hint)
