"""Safetensors files: memory-mapped reading and streamed writing.

``toolkit.checkpoint.header`` describes the layout. Opening a shard reads its header only; tensors are views of the
mapped file, and writing goes front to back.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.header import NUMPY_DTYPES, TensorInfo, fail, layout, read_header
from toolkit.errors import CheckpointError

__all__ = ["Shard", "ShardWriter", "TensorInfo", "read_header"]


class Shard:
    """One memory-mapped file. Views handed out keep the mapping alive, also after ``close``."""

    def __init__(self, path: Path, tensors: dict[str, TensorInfo], metadata: dict[str, str]) -> None:
        self.path = path
        self.tensors = tensors
        self.metadata = metadata
        with path.open("rb") as file:
            self._map: mmap.mmap | None = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map ``path`` after checking its header; raises what ``read_header`` raises."""
        return cls(path, *read_header(path))

    def raw(self, name: str) -> memoryview:
        """The tensor's bytes, read-only, not copied."""
        info = self._info(name)
        if self._map is None:
            raise CheckpointError("was closed", where=str(self.path))
        return memoryview(self._map)[info.begin : info.end]

    def array(self, name: str) -> NDArray[Any]:
        """Read-only view of the mapped file in the tensor's shape; BF16 as uint16 bits, 8-bit floats as uint8 bits."""
        info = self._info(name)
        return np.frombuffer(self.raw(name), NUMPY_DTYPES[info.dtype]).reshape(info.shape)

    def release(self, name: str) -> None:
        """Take the tensor's pages out of this process's memory. Views stay valid: the file is read again at need."""
        info = self._info(name)
        if self._map is not None and info.nbytes:
            begin = info.begin // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, begin, info.end - begin)

    def _info(self, name: str) -> TensorInfo:
        if name not in self.tensors:
            raise CheckpointError(f"no tensor {name!r}", where=str(self.path))
        return self.tensors[name]

    def close(self) -> None:
        # mmap.close() refuses while views exist; dropping the reference unmaps with the last view.
        self._map = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ShardWriter:
    """Writes one file front to back, one tensor at a time, so memory is bounded by the largest chunk.

    As a context manager it completes the file on success (``close``) and leaves it incomplete on an error.
    """

    def __init__(
        self, path: Path, tensors: Sequence[tuple[str, str, Sequence[int]]], metadata: Mapping[str, str] | None = None
    ) -> None:
        header, self.tensors = layout(path.name, tensors, metadata or {})
        self.path = path
        self._pending = list(reversed(self.tensors.values()))
        self._file = path.open("wb")
        self._file.write(header)

    def write(self, name: str, chunks: Iterable[Any]) -> None:
        """Append the next declared tensor from bytes-like, C-contiguous ``chunks`` (bytes, memoryview, ndarray)."""
        if not self._pending or self._pending[-1].name != name:
            expected = repr(self._pending[-1].name) if self._pending else "nothing more"
            raise CheckpointError(f"tensor {name!r} is written out of order, expected {expected}", where=str(self.path))
        info = self._pending.pop()
        written = sum(self._append(memoryview(chunk)) for chunk in chunks)
        if written != info.nbytes:
            what = f"got {written} bytes, but {info.dtype} {list(info.shape)} needs {info.nbytes}"
            fail(self.path, info.begin, what, tensor=name, hint=None)

    def _append(self, view: memoryview) -> int:
        if view.nbytes:
            self._file.write(view.cast("B"))
        return view.nbytes

    def close(self) -> None:
        """Flush to the disk (fsync) and close; CheckpointError if a declared tensor was not written."""
        if self._file.closed:
            return
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if self._pending:
            missing = self._pending[-1]
            fail(self.path, missing.begin, "was declared but never written", tensor=missing.name, hint=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()
