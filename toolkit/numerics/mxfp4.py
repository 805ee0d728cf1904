"""MXFP4: E2M1 codes in blocks of 32 with a power of two (E8M0) each, as gpt-oss checkpoints store it.

``blocks``  uint8 [..., K/32, 16], two codes a byte, low nibble first
``scales``  uint8 [..., K/32], the exponent with bias 127; 255 is NaN

    value = E2M1[code] · 2^(scale - 127)

Code 8 decodes to -0.0, as in transformers' ``convert_moe_packed_tensors`` and ModelOpt's ``MXFP4QTensor`` (NVFP4 as
ModelOpt decodes it has +0.0 there). Layout: OCP Microscaling Formats 1.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import CheckpointError
from toolkit.numerics import e2m1

BLOCK = 32
_BLOCK_BYTES = BLOCK // 2
_BOUNDS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
_E8M0 = np.append(np.ldexp(np.float32(1), np.arange(255) - 127), np.float32(np.nan)).astype(np.float32)


def dequantize(blocks: NDArray[np.uint8], scales: NDArray[np.uint8], dtype: e2m1.FloatType = "float32") -> NDArray[Any]:
    """Decode to [..., K] in float32, or BF16 as uint16 bits. CheckpointError if the shapes do not fit each other."""
    if blocks.shape != (*scales.shape, _BLOCK_BYTES):
        raise CheckpointError(
            f"MXFP4 scales of shape {list(scales.shape)} do not fit blocks of shape {list(blocks.shape)}: "
            f"blocks would be {[*scales.shape, _BLOCK_BYTES]}"
        )
    *lead, count = scales.shape
    out = np.empty((*lead, count * BLOCK), e2m1.storage(dtype))
    e2m1.decode_rows(blocks.reshape(-1), np.repeat(scales, 2), e2m1.VALUES, _E8M0, out.reshape(-1))
    return out


def quantize(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(blocks, scales) of float32 [..., K], K a multiple of 32, as ModelOpt's ``MXFP4QTensor`` does it.

    exponent = ceil(log2(amax / 6)), at least -127, so nothing saturates; magnitudes half-way between two codes go
    to the smaller; zeros become code 8. A block with NaN gets scale 255.
    """
    if values.shape[-1] % BLOCK:
        raise CheckpointError(f"the last axis of shape {list(values.shape)} is not a multiple of {BLOCK}")
    *lead, extent = values.shape
    blocks = values.reshape(*lead, extent // BLOCK, BLOCK)
    amax = np.abs(blocks).max(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        exponent = np.clip(np.ceil(np.log2(amax / np.float32(6))), -127, 127)
    scales = np.where(np.isnan(amax), 255, exponent + 127).astype(np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = blocks / _E8M0[scales][..., None]
    magnitude = np.abs(scaled)
    codes = (~(scaled > 0)).astype(np.uint8) << np.uint8(3)
    for bound in _BOUNDS:
        codes += magnitude > np.float32(bound)
    return e2m1.pack(codes), scales
