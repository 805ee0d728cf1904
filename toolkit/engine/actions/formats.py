"""Actions that change a number format: ``dequantize``, ``transcode`` and ``cast``, a few experts or rows at a time.

Outputs that share their inputs come from one calculation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.scales import place
from toolkit.engine.actions.job import Job, Piece, as_bytes
from toolkit.engine.reader import Reader, Sources
from toolkit.errors import CheckpointError
from toolkit.numerics import cast as casting
from toolkit.numerics import nvfp4
from toolkit.numerics import transcode as transcoding
from toolkit.numerics.fidelity import Report


def dequantize(job: Job, sources: Sources) -> Iterator[Piece]:
    """NVFP4 of a Linear [out, in/2], or of fused experts [E, in/2, out], to BF16."""
    packed, scale, scale_2 = job.inputs
    source, output, begin = sources.main, str(job.actions[0].output), 0
    global_scale, axis = source.scalar(scale_2), _axis(source, packed)
    for part in source.parts(packed):
        with _naming(source, packed):
            values = nvfp4.dequantize(
                source.array(packed, part), source.array(scale, part), global_scale, axis=axis, dtype="bfloat16"
            )
        data = as_bytes(values)
        yield Piece(output, begin, data)
        begin += data.size


def transcode(job: Job, sources: Sources) -> Iterator[Piece]:
    """NVFP4 to the ``_blocks`` and ``_scales`` of MXFP4."""
    packed, scale, scale_2 = job.inputs
    source, at = sources.main, {"_blocks": 0, "_scales": 0}
    global_scale, axis = source.scalar(scale_2), _axis(source, packed)
    for part in source.parts(packed):
        with _naming(source, packed):
            made = transcoding.nvfp4_to_mxfp4(
                source.array(packed, part), source.array(scale, part), global_scale, axis=axis, first=part.start
            )
        yield from _outputs(job, at, {"_blocks": made.blocks, "_scales": made.scales}, made.report)


def cast(job: Job, sources: Sources) -> Iterator[Piece]:
    """MXFP4 to NVFP4: codes and ``_weight_scale``, or ``_weight_scale_2`` alone."""
    blocks, scales = job.inputs
    source, stem = sources.main, blocks.removesuffix("_blocks")
    at = {stem: 0, "_weight_scale": 0}
    with _naming(source, scales):
        exponent = max(casting.tensor_exponent(source.array(scales, part)) for part in source.parts(scales))
    if (output := job.output("_weight_scale_2")) is not None:
        yield Piece(output, 0, as_bytes(np.array(2.0**exponent, "<f4")))
        return
    for part in source.parts(blocks):
        with _naming(source, blocks):
            made = casting.mxfp4_to_nvfp4(source.array(blocks, part), source.array(scales, part), exponent=exponent)
        yield from _outputs(job, at, {stem: made.packed, "_weight_scale": made.scale}, made.report)


def _outputs(
    job: Job, at: dict[str, int], made: dict[str, NDArray[np.uint8]], report: Report | None
) -> Iterator[Piece]:
    """The next piece of each output that this shard holds; the first of them has the report."""
    for suffix, array in made.items():
        if (output := job.output(suffix)) is not None:
            data = as_bytes(array)
            yield Piece(output, at[suffix], data, report)
            at[suffix] += data.size
            report = None


def _axis(source: Reader, packed: str) -> nvfp4.Axis:
    return -2 if len(source.info(packed).shape) > 2 else -1


@contextmanager
def _naming(source: Reader, name: str) -> Iterator[None]:
    """Codecs know no names: their errors get the tensor's."""
    try:
        yield
    except CheckpointError as error:
        if error.where is not None:
            raise
        where = place(source.checkpoint.folder, source.info(name))
        raise CheckpointError(error.what, where=where, hint=error.hint) from error
