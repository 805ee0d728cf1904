"""BF16 as uint16 bits: the upper half of an IEEE float32 (sign 1, exponent 8, mantissa 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_f32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Exact value of each BF16; any shape."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_f32(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """BF16 bits, rounded to nearest with ties to even; overflow gives infinity, NaN the quiet NaN of its sign."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits >> np.uint32(16)) & np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits  # wraps only for NaN, which is replaced below
    rounded >>= np.uint32(16)
    result = rounded.astype(np.uint16).reshape(values.shape)
    nan = np.isnan(values)
    if nan.any():
        result[nan] = np.where(np.signbit(values[nan]), 0xFFC0, 0x7FC0)
    return result
