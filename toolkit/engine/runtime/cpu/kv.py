"""The key/value cache of one layer, preallocated for every slot.

Axes: S slots, J KV heads, C capacity in tokens, D head_dim, T tokens, B batch rows. A full-attention layer keeps
position p at index p. A sliding layer keeps only its window, as a ring: position p at index p mod C. Keys are stored
rotated, so their order in memory does not matter to attention.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Ints = NDArray[np.intp]


class LayerCache:
    """Keys and values [S, J, C, D] of one layer; ``window`` None is full attention."""

    def __init__(self, slots: int, heads: int, max_seq_len: int, width: int, window: int | None) -> None:
        self.window = window
        self.capacity = max_seq_len if window is None else min(window, max_seq_len)
        self.keys_SJCD = np.zeros((slots, heads, self.capacity, width), np.float32)
        self.values_SJCD = np.zeros_like(self.keys_SJCD)

    def put(self, slots_B: Ints, positions_B: Ints, k_BJD: F32, v_BJD: F32) -> None:
        """One new token in each of several slots."""
        at_B = positions_B if self.window is None else positions_B % self.capacity
        self.keys_SJCD[slots_B, :, at_B] = k_BJD
        self.values_SJCD[slots_B, :, at_B] = v_BJD

    def extend(self, slot: int, position: int, k_TJD: F32, v_TJD: F32) -> tuple[F32, F32, int]:
        """Several consecutive tokens of one slot, the first at ``position``.

        Returns keys and values [J, *, D] of every position that these tokens see, and the first such position.
        """
        k_JTD, v_JTD = k_TJD.transpose(1, 0, 2), v_TJD.transpose(1, 0, 2)
        end = position + k_JTD.shape[1]
        keys_JCD, values_JCD = self.keys_SJCD[slot], self.values_SJCD[slot]
        if self.window is None:
            keys_JCD[:, position:end] = k_JTD
            values_JCD[:, position:end] = v_JTD
            return keys_JCD[:, :end], values_JCD[:, :end], 0
        first = max(0, position - self.capacity + 1)
        before = np.arange(first, position) % self.capacity
        seen_JTD = np.concatenate([keys_JCD[:, before], k_JTD], axis=1)
        seen_values_JTD = np.concatenate([values_JCD[:, before], v_JTD], axis=1)
        kept = np.arange(max(position, end - self.capacity), end)
        keys_JCD[:, kept % self.capacity] = k_JTD[:, kept - position]
        values_JCD[:, kept % self.capacity] = v_JTD[:, kept - position]
        return seen_JTD, seen_values_JTD, first
