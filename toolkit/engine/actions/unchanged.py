"""Actions that move bytes: ``keep``, ``relay``, ``take``, ``fill`` and ``drop``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from toolkit.checkpoint.header import NUMPY_DTYPES
from toolkit.engine.actions.job import Job, Piece, as_bytes
from toolkit.engine.reader import Reader, Sources
from toolkit.plan.types import Slice


def keep(job: Job, sources: Sources) -> Iterator[Piece]:
    (action,) = job.actions
    yield Piece(str(action.output), 0, sources.main.range(action.inputs[0]))


def relay(job: Job, sources: Sources) -> Iterator[Piece]:
    """Inputs joined along axis 0, so that each begins where the one before ends."""
    (action,) = job.actions
    begin, slices = 0, action.slices or (None,) * len(action.inputs)
    for name, part in zip(action.inputs, slices, strict=True):
        for piece in _cut(str(action.output), begin, name, part, sources.main):
            yield piece
            begin += piece.data.size


def _cut(output: str, begin: int, name: str, part: Slice | None, source: Reader) -> Iterator[Piece]:
    info = source.info(name)
    if part is None:
        yield Piece(output, begin, source.range(name))
    elif part.axis == 0:
        row = info.nbytes // info.shape[0]
        yield Piece(output, begin, source.range(name, part.begin * row, part.end * row))
    else:
        inside = (slice(None),) * part.axis + (slice(part.begin, part.end),)
        for rows in source.parts(name):
            data = as_bytes(source.array(name, rows)[inside])
            yield Piece(output, begin, data)
            begin += data.size


def take(job: Job, sources: Sources) -> Iterator[Piece]:
    """A scale of the other checkpoint; ``CheckpointError`` for one that no calibration gives."""
    (action,) = job.actions
    assert action.origin is not None
    other, name = sources.borrowed[action.origin], action.borrowed[0]
    other.scalar(name)
    yield Piece(str(action.output), 0, as_bytes(other.array(name)))


def fill(job: Job, sources: Sources) -> Iterator[Piece]:
    (action,) = job.actions
    dtype = NUMPY_DTYPES[str(action.dtype)]
    yield Piece(str(action.output), 0, as_bytes(np.full(action.shape, action.value, dtype)))


def drop(job: Job, sources: Sources) -> Iterator[Piece]:
    return iter(())
