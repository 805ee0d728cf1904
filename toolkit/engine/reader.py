"""Parts of a checkpoint's tensors, and where they lie in its files.

A part is read when it is asked for, so nothing but the parts in use is in memory. All of it may be used by several
threads at once.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.header import NUMPY_DTYPES, TensorInfo
from toolkit.checkpoint.scales import read_scalar_scale
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.ranges import Range, read
from toolkit.errors import CheckpointError
from toolkit.plan.types import Origin
from toolkit.recipe import Recipe

PART = 8 << 20  # bytes of a tensor at a time, at least one row of its first axis


class Reader:
    """One checkpoint; its files are opened when they are first asked for and closed by ``close``."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._descriptors: dict[str, int] = {}
        self._lock = threading.Lock()

    def info(self, name: str) -> TensorInfo:
        if name not in self.checkpoint.tensors:
            raise CheckpointError(f"no tensor {name!r}", where=str(self.checkpoint.folder))
        return self.checkpoint.tensors[name]

    def file(self, shard: str) -> Range:
        """A whole file."""
        descriptor = self._descriptor(shard)
        return Range(self.checkpoint.path(shard), descriptor, 0, os.fstat(descriptor).st_size)

    def range(self, name: str, begin: int = 0, end: int | None = None) -> Range:
        """Where bytes ``begin`` up to ``end`` of a tensor lie."""
        info = self.info(name)
        last = info.end if end is None else info.begin + end
        descriptor = self._descriptor(info.shard)
        return Range(self.checkpoint.path(info.shard), descriptor, info.begin + begin, last)

    def array(self, name: str, part: slice | None = None) -> NDArray[Any]:
        """A tensor, or ``part`` of its first axis; BF16 as uint16 bits, 8-bit floats as uint8 bits."""
        info = self.info(name)
        dtype = np.dtype(NUMPY_DTYPES[info.dtype])
        if part is None:
            return read(self.range(name)).view(dtype).reshape(info.shape)
        row = info.nbytes // info.shape[0]
        data = read(self.range(name, part.start * row, part.stop * row))
        return data.view(dtype).reshape(part.stop - part.start, *info.shape[1:])

    def parts(self, name: str) -> Iterator[slice]:
        """Slices of the first axis with about ``PART`` bytes each."""
        info = self.info(name)
        count = info.shape[0]
        step = max(1, PART * count // max(1, info.nbytes))
        return (slice(begin, min(begin + step, count)) for begin in range(0, count, step))

    def scalar(self, name: str) -> float:
        """A global or activation scale; ``CheckpointError`` unless it is one finite F32 value above 0."""
        info = self.info(name)
        if (info.dtype, info.elements) == ("F32", 1) and 0 < (value := float(self.array(name).reshape(()))) < math.inf:
            return value
        return read_scalar_scale(self.checkpoint, name)

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _descriptor(self, shard: str) -> int:
        with self._lock:
            if shard not in self._descriptors:
                self._descriptors[shard] = os.open(self.checkpoint.path(shard), os.O_RDONLY)
            return self._descriptors[shard]


class Sources:
    """The checkpoint that is built from, and those of the recipe that a plan borrows tensors from."""

    def __init__(self, source: Checkpoint, borrowed: dict[Origin, Checkpoint]) -> None:
        self.main = Reader(source)
        self.borrowed = {origin: Reader(checkpoint) for origin, checkpoint in borrowed.items()}

    @classmethod
    def of(cls, recipe: Recipe, source: Checkpoint, origins: set[Origin]) -> Self:
        """Opens the recipe's checkpoints named by ``origins``; raises what ``Checkpoint.open`` raises."""
        folders = {"bf16": recipe.checkpoint.bf16, "input_scales": recipe.checkpoint.input_scales}
        borrowed: dict[Origin, Checkpoint] = {}
        for origin in sorted(origins):
            folder = folders[origin]
            if folder is None:
                what = f"the plan takes tensors from checkpoint.{origin}, which the recipe does not set"
                raise CheckpointError(what, hint=f"Set checkpoint.{origin}")
            borrowed[origin] = Checkpoint.open(folder)
        return cls(source, borrowed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.main.close()
        for reader in self.borrowed.values():
            reader.close()
            reader.checkpoint.close()
