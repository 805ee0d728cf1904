"""How the rows of one ragged step are grouped for attention.

A step is a list of rows (token, position, slot), slots ascending and each slot's rows consecutive. A slot with several
rows is a chunk of a prompt and is attended alone. Slots with one row (decoding) are attended together in groups: a run
of neighbouring slots is one slice of the cache, padded to the longest of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Ints = NDArray[np.intp]

# A further group costs about as much as this many padded keys in one slot.
FREE_PADDING = 96


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows ``begin`` to ``end`` of the step: consecutive tokens of ``slot``, the first at ``position``."""

    begin: int
    end: int
    slot: int
    position: int


@dataclass(frozen=True, slots=True)
class Group:
    """Single rows of neighbouring ``slots`` that see at most ``keys`` keys; ``bias_B11T`` hides the padding."""

    rows: slice | Ints
    slots: slice
    keys: int
    bias_B11T: F32 | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One step. ``groups`` holds the grouping of the single rows for each kind of layer (its window)."""

    tokens_T: Ints
    positions_T: Ints
    chunks: tuple[Chunk, ...]
    single_rows: slice | Ints
    single_slots_B: Ints
    single_positions_B: Ints
    groups: dict[int | None, tuple[Group, ...]]

    @classmethod
    def of(cls, tokens_T: Ints, positions_T: Ints, slots_T: Ints, windows: Iterable[int | None]) -> Batch:
        begins = np.flatnonzero(np.diff(slots_T, prepend=-1))
        ends = np.append(begins[1:], len(slots_T))
        alone = ends - begins == 1
        rows_B = begins[alone]
        chunks = tuple(
            Chunk(begin, end, int(slots_T[begin]), int(positions_T[begin]))
            for begin, end in zip(begins[~alone].tolist(), ends[~alone].tolist(), strict=True)
        )
        slots_B, positions_B = slots_T[rows_B], positions_T[rows_B]
        groups = {window: _group(rows_B, slots_B, positions_B, window) for window in set(windows)}
        return cls(tokens_T, positions_T, chunks, _slice_of(rows_B), slots_B, positions_B, groups)


def _group(rows_B: Ints, slots_B: Ints, positions_B: Ints, window: int | None) -> tuple[Group, ...]:
    keys_B = positions_B + 1 if window is None else np.minimum(positions_B + 1, window)
    slots, keys = slots_B.tolist(), keys_B.tolist()
    groups: list[Group] = []
    begin = longest = total = 0
    for index in range(len(slots)):
        longest, total = max(longest, keys[index]), total + keys[index]
        following = index + 1
        if following < len(slots) and slots[following] == slots[index] + 1:
            padded = max(longest, keys[following]) * (following + 1 - begin)
            if padded - total - keys[following] <= FREE_PADDING * (following - begin):
                continue
        members = slice(begin, following)
        groups.append(
            Group(_slice_of(rows_B[members]), slice(slots[begin], slots[index] + 1), longest, _padding(keys_B[members]))
        )
        begin, longest, total = following, 0, 0
    return tuple(groups)


def _padding(keys_B: Ints) -> F32 | None:
    longest = int(keys_B.max())
    if int(keys_B.min()) == longest:
        return None
    hidden_BT = np.arange(longest) >= keys_B[:, None]
    return np.where(hidden_BT, np.float32(-np.inf), np.float32(0))[:, None, None, :]


def _slice_of(rows: Ints) -> slice | Ints:
    """A slice where the rows are consecutive: slicing makes views, indexing copies."""
    if rows.size and int(rows[-1]) - int(rows[0]) == rows.size - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
