"""The header of a safetensors file: read, checked and written.

Layout (https://github.com/huggingface/safetensors, "Format")::

    0           8             8 + N                       end of file
    | N: u64 LE | JSON header | tensor data, without holes |
    header: {"__metadata__": {str: str}, name: {"dtype", "shape", "data_offsets": [begin, end]}, ...}

``data_offsets`` count from byte 8 + N; everything here speaks of absolute byte offsets in the file. Values are
little-endian and row-major.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from toolkit.checkpoint.regular import open_regular, reading
from toolkit.checkpoint.strict_json import NotAnObjectError, parse_object
from toolkit.checkpoint.words import RECOVER, short
from toolkit.errors import CheckpointError

# BF16 and the 8-bit floats have no NumPy type: their raw bits are handed out.
NUMPY_DTYPES: Mapping[str, DTypeLike] = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "F8_E8M0": "u1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
MAX_HEADER_BYTES = 25_000_000  # huggingface_hub's too; 75,000 tensors need 11 MB. The safetensors library has 100 MB
MAX_NAME = 500  # characters; the longest published names have about 100
MAX_SIZE = (1 << 63) - 1
MAX_RANK = 32  # NumPy's
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: ``begin`` and ``end`` are absolute byte offsets in the file named ``shard``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    shard: str
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin

    @property
    def elements(self) -> int:
        return prod(self.shape)


def itemsize(dtype: str) -> int:
    """Bytes of one element of a safetensors dtype; KeyError for one that is not in ``NUMPY_DTYPES``."""
    return np.dtype(NUMPY_DTYPES[dtype]).itemsize


def fail(where: Path | str, byte: int, what: str, *, tensor: str | None = None, hint: str | None = RECOVER) -> NoReturn:
    place = f"{where}, byte {byte}" if tensor is None else f"{where}, tensor {short(tensor)}, byte {byte}"
    raise CheckpointError(what, where=place, hint=hint)


def read_header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Tensors in the order of their bytes, and the file's metadata.

    Reads the header and the file's length, no tensor data. Raises CheckpointError (file, tensor, byte offset) unless
    ``path`` is a regular file whose tensors cover the data area exactly: no overlap, no hole, nothing missing or left
    over at the end.
    """
    with reading(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        head += file.read(header_end(str(path), head, size) - len(head))
    return parse_header(str(path), head, size, path.name)


def header_end(where: str, prefix: bytes, size: int, *, hint: str = RECOVER) -> int:
    """The byte after the header, from the first 8 bytes of a file of ``size`` bytes; CheckpointError for a lie."""
    if len(prefix) < 8:
        fail(where, 0, f"not a safetensors file: {size} bytes long, shorter than the 8-byte header length", hint=hint)
    length = int.from_bytes(prefix[:8], "little")
    if length > size - 8:
        fail(where, 0, f"the header length is {length} bytes, but only {size - 8} bytes follow", hint=hint)
    if length > MAX_HEADER_BYTES:
        fail(where, 0, f"the header length is {length} bytes, over the {MAX_HEADER_BYTES} that are read", hint=hint)
    return 8 + length


def parse_header(
    where: str, head: bytes, size: int, shard: str, *, hint: str = RECOVER
) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """As ``read_header``, of a file of which only the first bytes are here.

    ``head`` is the file's beginning up to ``header_end`` or beyond, ``size`` the whole file's length in bytes;
    ``where`` and ``hint`` are for the error, and ``shard`` is the name that the tensors carry.
    """
    data = header_end(where, head, size, hint=hint)
    if len(head) < data:
        fail(where, len(head), f"the header ends at byte {data}, but only {len(head)} bytes came", hint=hint)
    try:
        header = parse_object(head[8:data])
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise _Malformed(8, f"{_METADATA} is not a map of strings")
        tensors = sorted((_parse_entry(name, entry, data, shard) for name, entry in header.items()), key=_by_offset)
        _check_coverage(tensors, data, size)
    except NotAnObjectError as error:
        fail(where, 8 + (error.byte or 0), f"the header is {error.reason}", hint=hint)
    except _Malformed as error:
        fail(where, error.byte, error.what, tensor=error.tensor, hint=error.hint or hint)
    return {tensor.name: tensor for tensor in tensors}, metadata


class _Malformed(Exception):
    def __init__(self, byte: int, what: str, tensor: str | None = None, hint: str | None = None) -> None:
        self.byte, self.what, self.tensor, self.hint = byte, what, tensor, hint


def _by_offset(tensor: TensorInfo) -> tuple[int, int]:
    return tensor.begin, tensor.end


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE


def _parse_entry(name: str, entry: object, data: int, shard: str) -> TensorInfo:
    if len(name) > MAX_NAME:
        raise _Malformed(8, f"the name has {len(name)} characters, more than {MAX_NAME}", name)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Malformed(8, "the header entry needs exactly dtype, shape and data_offsets", name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in NUMPY_DTYPES:
        raise _Malformed(8, f"unknown dtype {short(dtype)}", name, f"Known: {', '.join(NUMPY_DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_is_size(extent) for extent in shape):
        raise _Malformed(8, f"the shape {short(shape)} is not a list of sizes", name)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        raise _Malformed(8, f"data_offsets {short(offsets)} is not a pair of byte offsets", name)
    begin, end = data + offsets[0], data + offsets[1]
    if begin > end:
        raise _Malformed(begin, f"ends at byte {end}, before it begins", name)
    needed = prod(shape) * itemsize(dtype)
    if end - begin != needed:
        what = f"{dtype} {shape} needs {short(needed)} bytes, but {end - begin} are declared"
        raise _Malformed(begin, what, name)
    return TensorInfo(name, dtype, tuple(shape), shard, begin, end)


def _check_coverage(tensors: Sequence[TensorInfo], data: int, size: int) -> None:
    expected, before = data, "the header"
    for tensor in tensors:
        if tensor.begin < expected:
            raise _Malformed(tensor.begin, f"overlaps {before}, which ends at byte {expected}", tensor.name)
        if tensor.begin > expected:
            gap = tensor.begin - expected
            raise _Malformed(expected, f"{gap} bytes belong to no tensor, after {before}", tensor.name)
        if tensor.end > size:
            what = f"the file is truncated: {size} bytes long, but this tensor ends at byte {tensor.end}"
            raise _Malformed(tensor.begin, what, tensor.name)
        expected, before = tensor.end, f"tensor {short(tensor.name)}"
    if size > expected:
        raise _Malformed(expected, f"{size - expected} bytes follow {before}, which should end the file")


def layout(
    shard: str, tensors: Sequence[tuple[str, str, Sequence[int]]], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, TensorInfo]]:
    """The header bytes (length prefix included) of a file that holds ``tensors`` (name, dtype, shape) in this order.

    Written as the safetensors library writes it: compact JSON, padded with spaces to a multiple of 8.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    begin = 0
    for name, dtype, shape in tensors:
        if name in header or name == _METADATA:
            raise CheckpointError(f"tensor {name!r} is declared twice or has a reserved name", where=shard)
        end = begin + prod(shape) * itemsize(dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = 8 + len(text)
    infos = {
        name: TensorInfo(name, dtype, tuple(shape), shard, *(data + offset for offset in header[name]["data_offsets"]))
        for name, dtype, shape in tensors
    }
    return len(text).to_bytes(8, "little") + text, infos
