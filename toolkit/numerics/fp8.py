"""FP8 E4M3 (``float8_e4m3fn``) as uint8 bits: sign 1, exponent 4 (bias 7), mantissa 3.

No infinities; 0x7F and 0xFF are NaN; the largest value is 448, the smallest positive 2^-9. Layout: OCP 8-bit
floating point specification, revision 1.0. The cast saturates as PyTorch's CPU cast does (2.13): everything beyond 448,
infinity included, becomes 448.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX = 448.0
_MIN_NORMAL = np.float32(2.0**-6)


def _build_table() -> NDArray[np.float32]:
    code = np.arange(128)
    exponent, mantissa = code >> 3, code & 7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    magnitude[0x7F] = np.nan
    table: NDArray[np.float32] = np.concatenate([magnitude, -magnitude]).astype(np.float32)
    return table


E4M3 = _build_table()
"""The 256 values in the order of their bytes, float32."""


def decode_e4m3(bits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Exact value of each E4M3 byte; any shape."""
    return E4M3[bits]


def encode_e4m3(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """E4M3 bytes, rounded to nearest with ties to even, saturating to ±448; NaN becomes 0x7F, or 0xFF if negative."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).reshape(values.shape)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    # Keep 3 of 23 mantissa bits, then move the exponent bias from 127 to 7.
    normal = ((magnitude + np.uint32(0x7FFFF) + ((magnitude >> np.uint32(20)) & np.uint32(1))) >> np.uint32(20)) - (
        120 << 3
    )
    with np.errstate(invalid="ignore", over="ignore"):
        small = np.abs(values) < _MIN_NORMAL
        subnormal = np.rint(np.where(small, np.abs(values), 0) * np.float32(512)).astype(np.uint32)
    code = np.where(small, subnormal, np.minimum(normal, 0x7E))
    code = np.where(np.isnan(values), 0x7F, code)
    encoded: NDArray[np.uint8] = (code | (bits >> np.uint32(24)) & np.uint32(0x80)).astype(np.uint8)
    return encoded
