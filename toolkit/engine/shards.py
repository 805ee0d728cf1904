"""Write and verify one shard of a bundle. Holds one tensor in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.files import CHUNK, copy_atomic, sha256_file
from toolkit.checkpoint.safetensors import Shard, ShardWriter
from toolkit.checkpoint.scales import check_scales
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import BundleError, CheckpointError
from toolkit.numerics import nvfp4
from toolkit.plan.types import Action, ShardPlan

Progress = Callable[[int], None]


def write_shard(shard: ShardPlan, source: Checkpoint, target: Path, progress: Progress) -> None:
    """Make ``target`` as planned; it appears whole or not at all.

    Raises ``CheckpointError`` for a scale that no quantiser writes, before anything is written.
    """
    for action in shard.actions:
        for name in action.inputs:
            check_scales(source, name)
            source.release(name)
    if shard.unchanged:
        copy_atomic(source.path(shard.file), target)
        progress(shard.nbytes)
        return
    part = target.with_name(target.name + ".tmp")
    writes = [action for action in shard.actions if action.output is not None]
    header = [(str(action.output), str(action.dtype), action.shape) for action in writes]
    with ShardWriter(part, header, {"format": "pt"}) as writer:
        for action in writes:
            writer.write(str(action.output), _pieces(action, source, progress))
    part.replace(target)


def verify_shard(shard: ShardPlan, source: Checkpoint, target: Path, progress: Progress) -> str:
    """Check ``target`` against the plan and the source, tensor by tensor; returns its SHA-256.

    Kept tensors must have the source's bytes, dequantised ones the codec's result, and there must be no other tensor.
    Raises ``BundleError`` naming the tensor.
    """
    planned = {str(action.output): action for action in shard.actions if action.output is not None}
    try:
        written = Shard.open(target)
    except CheckpointError as error:
        raise BundleError(error.what, where=str(target)) from None
    with written:
        if set(written.tensors) != set(planned):
            odd = min(set(written.tensors) ^ set(planned))
            raise BundleError(f"tensor {odd!r} is missing or not planned", where=str(target))
        for name, action in planned.items():
            info = written.tensors[name]
            if (info.dtype, info.shape) != (action.dtype, action.shape):
                raise BundleError(f"tensor {name!r} has another dtype or shape than planned", where=str(target))
            _compare(written.raw(name), action, source, target)
            written.release(name)
            progress(action.nbytes)
    return sha256_file(target)


def _compare(found: memoryview, action: Action, source: Checkpoint, target: Path) -> None:
    """Dtype and shape agree already, so both have the same number of bytes."""
    begin = 0
    for piece in _pieces(action, source, lambda _: None):
        part = found[begin : begin + len(piece)]
        if part != piece:
            byte = begin + int(np.flatnonzero(np.frombuffer(part, np.uint8) != np.frombuffer(piece, np.uint8))[0])
            raise BundleError(f"tensor {action.output!r} differs from its source at byte {byte}", where=str(target))
        begin += len(piece)


def _pieces(action: Action, source: Checkpoint, progress: Progress) -> Iterator[memoryview]:
    """The bytes of an action's output, in pieces of at most 4 MiB."""
    data = source.raw(action.inputs[0]) if action.kind == "keep" else dequantize(action, source).data.cast("B")
    for begin in range(0, len(data), CHUNK):
        piece = data[begin : begin + CHUNK]
        yield piece
        progress(len(piece))
    for name in action.inputs:
        source.release(name)


def dequantize(action: Action, source: Checkpoint) -> NDArray[np.uint16]:
    """BF16 bits of an NVFP4 Linear weight [out, in]; inputs are packed weight, block scale, global scale."""
    packed, block_scale, global_scale = (source.array(name) for name in action.inputs)
    return nvfp4.dequantize(packed, block_scale, float(global_scale[()]), axis=-1, dtype="bfloat16")
