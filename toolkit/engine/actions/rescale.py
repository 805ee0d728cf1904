"""``rescale``: block scales that an export lost, from the BF16 weights it was made of.

ModelOpt 0.35.0 and 0.35.1 stored the block maxima of fused experts along the wrong axis; codes and global scale are
right. Quantising the BF16 weight with the stored global scale gives ModelOpt's bytes: the block scales that are missing
and once more the codes that are there. Codes that differ show that the weight is another one, and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.scales import place
from toolkit.engine.actions.job import Job, Piece, as_bytes
from toolkit.engine.reader import PART, Sources
from toolkit.errors import CheckpointError
from toolkit.numerics import nvfp4

Bytes = NDArray[np.uint8]


def rescale(job: Job, sources: Sources) -> Iterator[Piece]:
    """Block scales F8_E4M3 [E, K/16, N] of packed [E, K/2, N] from BF16 [E, K, N]."""
    (action,) = job.actions
    assert action.origin is not None
    packed, scale_2 = job.inputs
    source, other, weight = sources.main, sources.borrowed[action.origin], action.borrowed[0]
    global_scale, begin = source.scalar(scale_2), 0
    for part in other.parts(weight):
        codes, scales = _quantise(other.array(weight, part), global_scale)
        if differing := int(np.count_nonzero(codes != source.array(packed, part))):
            what = f"is not what the checkpoint was quantised from: {differing} of {codes.size} bytes of codes differ"
            where = place(other.checkpoint.folder, other.info(weight))
            hint = "Set checkpoint.bf16 to the model that ModelOpt quantised"
            raise CheckpointError(what, where=where, hint=hint)
        data = as_bytes(scales)
        yield Piece(str(action.output), begin, data)
        begin += data.size


def _quantise(weight_EKN: NDArray[np.uint16], global_scale: float) -> tuple[Bytes, Bytes]:
    """(codes [E, K/2, N], scales [E, K/16, N]), some columns at a time to bound what NumPy copies."""
    experts, k, n = weight_EKN.shape
    codes, scales = np.empty((experts, k // 2, n), np.uint8), np.empty((experts, k // nvfp4.BLOCK, n), np.uint8)
    step = max(1, PART // (4 * experts * k))
    for columns in (slice(begin, begin + step) for begin in range(0, n, step)):
        values = np.ascontiguousarray(weight_EKN[..., columns])
        codes[..., columns], scales[..., columns], _ = nvfp4.quantize(values, axis=-2, global_scale=global_scale)
    return codes, scales
