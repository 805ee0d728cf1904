"""``inspect_values``: every FP4 weight and block scale is read once, in bounded pieces.

Counts per module and in all: the bytes of the block scales as a histogram, weights at ±6 (codes 7 and 15), blocks whose
16 (MXFP4: 32) weights are all ±0. Scales are E4M3 for NVFP4 (NaN 0x7F and 0xFF, zero 0x00 and 0x80, negative 0x81 to
0xFE) and E8M0 for MXFP4 (NaN 0xFF, no zero, no sign).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.source import Checkpoint
from toolkit.inspection.modules import PACKED, Module, k_axis

Progress = Callable[[int, int], None]  # bytes done, bytes in all

Kind = Literal["nan", "zero", "negative"]
Codes = Mapping[Kind, tuple[int, ...]]
_E4M3: Codes = {"nan": (0x7F, 0xFF), "zero": (0x00, 0x80), "negative": tuple(range(0x81, 0xFF))}
_E8M0: Codes = {"nan": (0xFF,), "zero": (), "negative": ()}
_BLOCK_BYTES = {"nvfp4": 8, "compressed-tensors": 8, "mxfp4": 16}
_PIECE = 1 << 18  # bytes at a time: what fits the caches with its temporaries; measured twice as fast as 4 MiB
_RELEASE = 64 << 20  # bytes after which mapped pages are given back
_MAGNITUDES = np.uint64(0x7777777777777777)  # both magnitude codes of 8 packed bytes


@dataclass(frozen=True, slots=True)
class Values:
    """Counts over one module's weight, or over several; ``histogram[b]`` counts the block scales of byte ``b``."""

    weights: int
    saturated: int
    blocks: int
    zero_blocks: int
    nan_scales: int
    zero_scales: int
    negative_scales: int
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModuleValues:
    """``first_nan`` and the like are byte offsets in the scale tensor's file, None where there is none."""

    module: Module
    values: Values
    first_nan: int | None
    first_zero: int | None
    first_negative: int | None


@dataclass(frozen=True, slots=True)
class Deep:
    """``total`` is over ``modules``; ``skipped`` are packed modules whose shapes do not give whole blocks."""

    total: Values
    modules: tuple[ModuleValues, ...]
    skipped: tuple[str, ...]


def inspect_values(checkpoint: Checkpoint, modules: Iterable[Module], progress: Progress | None = None) -> Deep:
    """Raises ``CheckpointError`` if a file cannot be read. Memory is bounded, whatever the tensors' sizes."""
    packed = [module for module in modules if module.format in PACKED]
    readable = [module for module in packed if _has_whole_blocks(module)]
    skipped = tuple(module.name for module in packed if not _has_whole_blocks(module))
    total = sum(_weight(module).nbytes + module.block_scales.nbytes for module in readable)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    found = tuple(_read(checkpoint, module, advance) for module in readable)
    return Deep(add(each.values for each in found), found, skipped)


def add(values: Iterable[Values]) -> Values:
    """The counts over all of ``values``."""
    every = list(values)
    histogram = np.array([each.histogram for each in every], np.int64).reshape(-1, 256).sum(axis=0)
    return Values(
        weights=sum(each.weights for each in every),
        saturated=sum(each.saturated for each in every),
        blocks=sum(each.blocks for each in every),
        zero_blocks=sum(each.zero_blocks for each in every),
        nan_scales=sum(each.nan_scales for each in every),
        zero_scales=sum(each.zero_scales for each in every),
        negative_scales=sum(each.negative_scales for each in every),
        histogram=tuple(int(count) for count in histogram),
    )


def _has_whole_blocks(module: Module) -> bool:
    shape = _weight(module).shape
    if 0 in shape:
        return False
    if "blocks" in module.tensors:
        return len(shape) >= 2 and shape[-1] == _BLOCK_BYTES["mxfp4"]
    return len(shape) >= 2 and shape[k_axis(module)] % _BLOCK_BYTES[module.format] == 0


def _weight(module: Module) -> TensorInfo:
    assert module.weight is not None
    return module.weight


def _read(checkpoint: Checkpoint, module: Module, advance: Callable[[int], None]) -> ModuleValues:
    weight = _weight(module)
    codes = _E8M0 if module.format == "mxfp4" else _E4M3
    saturated = zero_blocks = 0
    for blocks in _released(checkpoint, weight.name, _block_pieces(checkpoint.array(weight.name), module), advance):
        saturated += _saturated(blocks)
        zero_blocks += _zero_blocks(blocks)
    counts, first = _read_scales(checkpoint, module.block_scales, codes, advance)
    values = Values(
        weights=prod(module.shape),
        saturated=saturated,
        blocks=weight.nbytes // _BLOCK_BYTES[module.format],
        zero_blocks=zero_blocks,
        nan_scales=sum(counts[code] for code in codes["nan"]),
        zero_scales=sum(counts[code] for code in codes["zero"]),
        negative_scales=sum(counts[code] for code in codes["negative"]),
        histogram=counts,
    )
    return ModuleValues(module, values, first.get("nan"), first.get("zero"), first.get("negative"))


def _read_scales(
    checkpoint: Checkpoint, scales: TensorInfo, codes: Codes, advance: Callable[[int], None]
) -> tuple[tuple[int, ...], dict[Kind, int]]:
    """The histogram, and the byte offset of the first scale of each kind."""
    histogram = np.zeros(256, np.int64)
    first: dict[Kind, int] = {}
    position = scales.begin
    for piece in _released(checkpoint, scales.name, _pieces(checkpoint.array(scales.name).reshape(-1)), advance):
        histogram += np.bincount(piece, minlength=256)
        for kind, bytes_ in codes.items():
            if kind not in first and any(histogram[code] for code in bytes_):
                first[kind] = position + int(np.flatnonzero(np.isin(piece, bytes_))[0])
        position += piece.size
    return tuple(int(count) for count in histogram), first


def _released(
    checkpoint: Checkpoint, name: str, pieces: Iterator[NDArray[np.uint8]], advance: Callable[[int], None]
) -> Iterator[NDArray[np.uint8]]:
    """``pieces``, with the pages of what was read given back from time to time and at the end."""
    held = 0
    for piece in pieces:
        yield piece
        advance(piece.nbytes)
        held += piece.nbytes
        if held >= _RELEASE:
            checkpoint.release(name)
            held = 0
    checkpoint.release(name)


def _block_pieces(packed: NDArray[np.uint8], module: Module) -> Iterator[NDArray[np.uint8]]:
    """[blocks, bytes of a block, columns]: one column where K is the last axis."""
    size = _BLOCK_BYTES[module.format]
    columns = packed.shape[-1] if k_axis(module) == -2 else 1
    return _pieces(packed.reshape(-1, size, columns))


def _pieces(array: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Along the first axis, and along the last where one step of the first is too large."""
    step = max(1, _PIECE // max(1, prod(array.shape[1:])))
    width = max(1, _PIECE // prod(array.shape[1:-1])) if array.ndim > 1 else step
    for begin in range(0, len(array), step):
        rows = array[begin : begin + step]
        if array.ndim == 1 or width >= array.shape[-1]:
            yield rows
        else:
            yield from (rows[..., left : left + width] for left in range(0, array.shape[-1], width))


def _saturated(packed: NDArray[np.uint8]) -> int:
    low, high = np.uint8(0x07), np.uint8(0x70)
    return int(np.count_nonzero((packed & low) == low) + np.count_nonzero((packed & high) == high))


def _zero_blocks(blocks: NDArray[np.uint8]) -> int:
    if blocks.shape[-1] == 1:
        words = blocks.reshape(-1).view("<u8").reshape(len(blocks), -1)
        return int(np.count_nonzero(~((words & _MAGNITUDES) != 0).any(axis=1)))
    return int(np.count_nonzero((np.bitwise_or.reduce(blocks, axis=1) & np.uint8(0x77)) == 0))
