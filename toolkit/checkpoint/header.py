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
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

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
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
MAX_SIZE = (1 << 63) - 1
MAX_RANK = 32  # NumPy's
_METADATA = "__metadata__"
_RECOVER = "Copy or download this file again"


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


def fail(path: Path, byte: int, what: str, *, tensor: str | None = None, hint: str | None = _RECOVER) -> NoReturn:
    where = f"{path}, tensor {tensor!r}, byte {byte}" if tensor is not None else f"{path}, byte {byte}"
    raise CheckpointError(what, where=where, hint=hint)


def read_header(path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Tensors in the order of their bytes, and the file's metadata.

    Reads the header and the file's length, no tensor data. Raises CheckpointError (file, tensor, byte offset) unless
    the tensors cover the data area exactly: no overlap, no hole, nothing missing or left over at the end.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _header_length(path, file.read(8), size)
            text = file.read(length)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", where=str(path)) from error
    header = _parse_json(path, text)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        fail(path, 8, f"{_METADATA} is not a map of strings")
    data = 8 + length
    tensors = sorted((_parse_entry(path, name, entry, data) for name, entry in header.items()), key=_by_offset)
    _check_coverage(path, tensors, data, size)
    return {tensor.name: tensor for tensor in tensors}, metadata


def _by_offset(tensor: TensorInfo) -> tuple[int, int]:
    return tensor.begin, tensor.end


def _header_length(path: Path, prefix: bytes, size: int) -> int:
    if len(prefix) < 8:
        fail(path, 0, f"not a safetensors file: {size} bytes long, shorter than the 8-byte header length")
    length = int.from_bytes(prefix, "little")
    if length > size - 8:
        fail(path, 0, f"the header length is {length} bytes, but only {size - 8} bytes follow")
    if length > MAX_HEADER_BYTES:
        fail(path, 0, f"the header length is {length} bytes, more than the format's {MAX_HEADER_BYTES}")
    return length


def _parse_json(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            keys = [key for key, _ in pairs]
            fail(path, 8, f"the header holds {next(k for k in keys if keys.count(k) > 1)!r} twice")
        return mapping

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        fail(path, 8 + error.pos, f"the header is not JSON ({error.msg})")
    except (ValueError, RecursionError) as error:  # not UTF-8, a number too long, nested too deep
        fail(path, 8, f"the header is not JSON ({type(error).__name__})")
    if not isinstance(header, dict):
        fail(path, 8, "the header is not a JSON object")
    return header


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE


def _parse_entry(path: Path, name: str, entry: object, data: int) -> TensorInfo:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        fail(path, 8, "the header entry needs exactly dtype, shape and data_offsets", tensor=name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in NUMPY_DTYPES:
        fail(path, 8, f"unknown dtype {dtype!r}", tensor=name, hint=f"Known: {', '.join(NUMPY_DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_is_size(extent) for extent in shape):
        fail(path, 8, f"the shape {reprlib.repr(shape)} is not a list of sizes", tensor=name)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        fail(path, 8, f"data_offsets {reprlib.repr(offsets)} is not a pair of byte offsets", tensor=name)
    begin, end = data + offsets[0], data + offsets[1]
    if begin > end:
        fail(path, begin, f"ends at byte {end}, before it begins", tensor=name)
    needed = prod(shape) * itemsize(dtype)
    if end - begin != needed:
        fail(path, begin, f"{dtype} {shape} needs {needed} bytes, but {end - begin} are declared", tensor=name)
    return TensorInfo(name, dtype, tuple(shape), path.name, begin, end)


def _check_coverage(path: Path, tensors: Sequence[TensorInfo], data: int, size: int) -> None:
    expected, before = data, "the header"
    for tensor in tensors:
        if tensor.begin < expected:
            fail(path, tensor.begin, f"overlaps {before}, which ends at byte {expected}", tensor=tensor.name)
        if tensor.begin > expected:
            gap = tensor.begin - expected
            fail(path, expected, f"{gap} bytes belong to no tensor, after {before}", tensor=tensor.name)
        if tensor.end > size:
            what = f"the file is truncated: {size} bytes long, but this tensor ends at byte {tensor.end}"
            fail(path, tensor.begin, what, tensor=tensor.name)
        expected, before = tensor.end, f"tensor {tensor.name!r}"
    if size > expected:
        fail(path, expected, f"{size - expected} bytes follow {before}, which should end the file")


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
