"""What a plan's changes of number format cost, tensor by tensor: they are carried out in memory and thrown away.

Reads the weights of every ``transcode``, ``cast`` and ``dequantize`` action once, a few experts or rows at a time, and
gives mapped pages back, so memory is bounded whatever the checkpoint's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.scales import place, read_scalar_scale
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.numerics import bf16, cast, nvfp4, transcode
from toolkit.numerics.fidelity import Report

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes to read in all."""

_PART = 16 << 20  # packed bytes at a time, at least one expert or row
_DECODED = 16  # bytes of temporaries for a packed one, where its values are decoded
_BLOCK = 32  # values, as in Report
_E8M0 = ("U8", "F8_E8M0")


class Step(Protocol):
    """What is needed of ``toolkit.plan.types.Action``."""

    @property
    def kind(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...


class Steps(Protocol):
    """What is needed of ``toolkit.plan.types.Plan``."""

    @property
    def actions(self) -> Iterable[Step]: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """``tensor`` is the source's packed weight, ``kind`` that of the action."""

    tensor: str
    kind: str
    report: Report

    def to_dict(self) -> dict[str, Any]:
        return {"tensor": self.tensor, "kind": self.kind, **_figures(self.report)}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One entry for each source weight that changes its format, in the plan's order."""

    tensors: tuple[Measured, ...]

    def total(self, kind: str) -> Report:
        """Sum over the tensors of one kind; relative RMS is then that of all their values together."""
        return sum((entry.report for entry in self.tensors if entry.kind == kind), Report())

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.kind for entry in self.tensors))

    def to_dict(self) -> dict[str, Any]:
        totals = {kind: _figures(self.total(kind)) for kind in self.kinds}
        return {"totals": totals, "tensors": [entry.to_dict() for entry in self.tensors]}


def _figures(report: Report) -> dict[str, int | float]:
    ratios = {"exact_share": report.exact_share, "relative_rms": report.relative_rms}
    return {**asdict(report), "inexact_blocks": report.inexact_blocks, **ratios}


def measure(plan: Steps, checkpoint: Checkpoint, progress: Progress = lambda done, total: None) -> Measurement:
    """Carry out ``transcode`` and ``dequantize`` (packed weight, block and global scale) and ``cast`` (blocks, scales).

    What decoding to BF16 costs is its rounding, against the values in FP32. Outputs that share their inputs are
    measured once. Raises CheckpointError naming file and tensor for values or shapes that no quantiser writes.
    """
    jobs = dict.fromkeys((action.kind, action.inputs) for action in plan.actions if action.kind in _PARTS)
    total = sum(checkpoint.tensors[name].nbytes for _, inputs in jobs for name in inputs[:2])
    done, measured = 0, []
    for kind, inputs in jobs:
        report = Report()
        for part, nbytes in _placed(kind, inputs, checkpoint):
            report += part
            done += nbytes
            progress(done, total)
        measured.append(Measured(inputs[0], kind, report))
    return Measurement(tuple(measured))


Parts = Iterator[tuple[Report, int]]
"""Reports of parts of a tensor and the bytes read for each."""


def _placed(kind: str, inputs: tuple[str, ...], checkpoint: Checkpoint) -> Parts:
    try:
        yield from _PARTS[kind](inputs, checkpoint)
    except CheckpointError as error:
        if error.where is not None:
            raise
        where = place(checkpoint.folder, checkpoint.tensors[inputs[0]])
        raise CheckpointError(error.what, where=where, hint=error.hint) from error


def _transcode(inputs: tuple[str, ...], checkpoint: Checkpoint) -> Parts:
    packed, scale = _array(checkpoint, inputs[0], ("U8",)), _array(checkpoint, inputs[1], ("F8_E4M3",))
    scale_2 = read_scalar_scale(checkpoint, inputs[2])
    axis: nvfp4.Axis = -2 if packed.ndim > 2 else -1  # fused experts, or a Linear
    transcode.check_shapes(packed.shape, scale.shape, axis)
    for part in _slices(packed):
        result = transcode.nvfp4_to_mxfp4(packed[part], scale[part], scale_2, axis=axis, first=part.start)
        yield result.report, packed[part].nbytes + scale[part].nbytes
        _release(checkpoint, inputs)


def _cast(inputs: tuple[str, ...], checkpoint: Checkpoint) -> Parts:
    blocks, scales = _array(checkpoint, inputs[0], ("U8",)), _array(checkpoint, inputs[1], _E8M0)
    cast.check_shapes(blocks.shape, scales.shape)
    exponent = cast.tensor_exponent(scales)
    for part in _slices(blocks):
        result = cast.mxfp4_to_nvfp4(blocks[part], scales[part], exponent=exponent)
        yield result.report, blocks[part].nbytes + scales[part].nbytes
        _release(checkpoint, inputs)


def _dequantize(inputs: tuple[str, ...], checkpoint: Checkpoint) -> Parts:
    packed, scale = _array(checkpoint, inputs[0], ("U8",)), _array(checkpoint, inputs[1], ("F8_E4M3",))
    scale_2 = read_scalar_scale(checkpoint, inputs[2])
    for part in _slices(packed, _PART // _DECODED):
        yield _rounding(nvfp4.dequantize(packed[part], scale[part], scale_2)), packed[part].nbytes + scale[part].nbytes
        _release(checkpoint, inputs)


def _rounding(values: NDArray[np.float32]) -> Report:
    """Of float32 values [rows, K] rounded to BF16; the last block may be short."""
    if not np.isfinite(values).all():
        hint = "Quantise the model again, or fetch the file again"
        raise CheckpointError("a block scale decodes to what is not finite", hint=hint)
    error = (bf16.to_f32(bf16.from_f32(values)) - values).reshape(-1)
    differs = np.pad(error != 0, (0, -error.size % _BLOCK)).reshape(-1, _BLOCK).any(axis=1)
    squares = (float(np.square(part, dtype=np.float64).sum()) for part in (error, values))
    return Report(differs.size, int((~differs).sum()), 0, *squares)


_PARTS: dict[str, Callable[[tuple[str, ...], Checkpoint], Parts]] = {
    "transcode": _transcode,
    "cast": _cast,
    "dequantize": _dequantize,
}


def _array(checkpoint: Checkpoint, name: str, dtypes: tuple[str, ...]) -> NDArray[np.uint8]:
    info = checkpoint.tensors[name]
    if info.dtype not in dtypes:
        what = f"dtype is {info.dtype}, but must be {' or '.join(dtypes)}"
        raise CheckpointError(what, where=place(checkpoint.folder, info))
    return checkpoint.array(name)


def _slices(weights: NDArray[np.uint8], nbytes: int | None = None) -> Iterator[slice]:
    """Parts of the first axis, of about ``nbytes``."""
    count = len(weights)
    step = max(1, (nbytes or _PART) * count // max(1, weights.nbytes))
    return (slice(begin, min(begin + step, count)) for begin in range(0, count, step))


def _release(checkpoint: Checkpoint, names: tuple[str, ...]) -> None:
    for name in names:
        checkpoint.release(name)
