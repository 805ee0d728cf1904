"""Scales that no quantiser writes: they load, run and answer garbage, so they are refused with the byte's place.

An E4M3 block scale of 0x7F or 0xFF is NaN; a ``weight_scale_2`` or ``input_scale`` must be finite and above 0. ModelOpt
writes such values for a tensor that is all zero.
"""

from __future__ import annotations

import math
import os
from itertools import groupby
from pathlib import Path
from struct import unpack

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.regular import open_regular, reading
from toolkit.checkpoint.source import Checkpoint
from toolkit.checkpoint.words import RECOVER
from toolkit.errors import CheckpointError

NAN_CODE = 0x7F  # E4M3, either sign


def read_block_scales(checkpoint: Checkpoint, name: str) -> NDArray[np.uint8]:
    """The E4M3 bytes of block scales, none of them NaN; raises ``CheckpointError`` with tensor and byte offset."""
    info = checkpoint.tensors[name]
    if info.dtype != "F8_E4M3":
        raise CheckpointError(f"dtype is {info.dtype}, but must be F8_E4M3", where=place(checkpoint.folder, info))
    scales: NDArray[np.uint8] = checkpoint.array(name)
    nan = np.flatnonzero((scales & NAN_CODE) == NAN_CODE)
    if nan.size:
        byte = info.begin + int(nan[0])
        what = f"{nan.size} block scale(s) are NaN, the first is {int(scales.ravel()[nan[0]]):#04x} at byte {byte}"
        hint = "Quantise the model again, or fetch the file again"
        raise CheckpointError(what, where=place(checkpoint.folder, info), hint=hint)
    return scales


def read_scalar_scale(checkpoint: Checkpoint, name: str) -> float:
    """A global or activation scale; raises ``CheckpointError`` unless it is one finite FP32 value above 0."""
    info = checkpoint.tensors[name]
    if info.dtype != "F32" or info.elements != 1:
        raise CheckpointError("must be one F32 value", where=place(checkpoint.folder, info))
    value = float(checkpoint.array(name).reshape(()))
    if not 0 < value < math.inf:
        hint = "Quantise the model again with calibration data"
        where = place(checkpoint.folder, info)
        raise CheckpointError(f"is {value}, but must be finite and above 0", where=where, hint=hint)
    return value


def read_scalars(checkpoint: Checkpoint) -> dict[str, float]:
    """Every F32 tensor of one element by name, as it is stored: NaN, infinite, zero and negative values included.

    Read byte by byte where they stand, not through the mapping: a page for each would be kept, and its neighbours read.
    """
    scalars = [info for info in checkpoint.tensors.values() if info.dtype == "F32" and info.elements == 1]
    values: dict[str, float] = {}
    for file, infos in groupby(scalars, key=lambda info: info.shard):
        with reading(checkpoint.path(file)), open_regular(checkpoint.path(file)) as stream:
            for info in infos:
                data = os.pread(stream.fileno(), 4, info.begin)
                if len(data) < 4:
                    what = "the file has become shorter since its header was read"
                    raise CheckpointError(what, where=place(checkpoint.folder, info), hint=RECOVER)
                (values[info.name],) = unpack("<f", data)
    return values


def check_scales(checkpoint: Checkpoint, name: str) -> None:
    """Check ``name`` if it is a scale by its dtype and name; other tensors pass."""
    info = checkpoint.tensors[name]
    if info.dtype == "F8_E4M3":
        read_block_scales(checkpoint, name)
    elif info.dtype == "F32" and name.endswith(("_scale", "_scale_2")):
        read_scalar_scale(checkpoint, name)


def place(folder: Path, info: TensorInfo) -> str:
    """How an error names a tensor."""
    return f"{folder / info.shard}, tensor {info.name!r}"
