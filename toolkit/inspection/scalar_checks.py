"""Checks of scalar scales, which are a few bytes of tensor data, and what the version tells without them."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.inspection import scalars
from toolkit.inspection.finding import Finding
from toolkit.inspection.scalars import INPUT_SCALES, KV_SCALES, TENSOR_SCALES
from toolkit.inspection.subject import Check, Subject, count, first_of

COPIED_FROM, COPIED_UNTIL = (0, 41), (0, 45)  # of ModelOpt, both included
CLAMPED = (0, 37)
RECALIBRATE = "Calibrate it again with ModelOpt, or set checkpoint.input_scales in a recipe to a calibrated export"
COPIED_REPAIR = (
    "Calibrate it again with ModelOpt 0.46.1 or later, or with transformers 4.56.2, or set checkpoint.input_scales in "
    "a recipe to such an export; the weights are right"
)


def _bad_tensor_scale(subject: Subject) -> Iterator[Finding]:
    effect = "its weights decode to NaN, infinity or zero. ModelOpt writes 0 for a tensor that is all zero"
    repair = "Quantise it again; a tensor of zeros needs a positive weight_scale_2, block scales 1.0 and codes 0"
    return _unusable(subject, TENSOR_SCALES, "bad-tensor-scale", "tensor scale", effect, repair)


def _bad_input_scale(subject: Subject) -> Iterator[Finding]:
    effect = "runtimes that quantise activations divide by it"
    return _unusable(subject, INPUT_SCALES, "bad-input-scale", "activation scale", effect, RECALIBRATE)


def _bad_kv_scale(subject: Subject) -> Iterator[Finding]:
    effect, repair = "cached keys or values become NaN, infinity or zero", "Calibrate the KV cache again with ModelOpt"
    return _unusable(subject, KV_SCALES, "bad-kv-scale", "KV-cache scale", effect, repair)


def _unusable(
    subject: Subject, suffixes: tuple[str, ...], id: str, noun: str, effect: str, repair: str
) -> Iterator[Finding]:
    if found := scalars.unusable(subject.scalars, suffixes):
        first = subject.scalars[found[0]]
        detail = f"{count(found, noun)} that must be finite and above 0, the first is {first}: {effect}"
        yield Finding(id, "error", first_of(found, subject.census.tensors), detail, repair)


def _uncalibrated(subject: Subject) -> Iterator[Finding]:
    if found := scalars.uncalibrated(subject.scalars):
        detail = (
            f"{count(found, 'activation scale')} 1.860e-4, ModelOpt's fallback for a quantiser that saw no data "
            "(amax 0.5): larger activations are clipped"
        )
        where = first_of(found, subject.census.tensors)
        yield Finding("uncalibrated-input-scale", "warning", where, detail, RECALIBRATE)


def _copied(subject: Subject) -> Iterator[Finding]:
    found = scalars.copied_input_scales(subject.scalars)
    if not found:
        return
    where = first_of(found, subject.census.tensors)
    detail = f"{count(found, 'down_proj_input_scale')} equal to gate_up_proj_input_scale"
    if COPIED_FROM <= subject.version <= COPIED_UNTIL:
        detail += ": ModelOpt 0.41 to 0.45 with transformers 5 copies it where down_proj's input was not observed"
        yield Finding("copied-input-scale", "warning", where, detail, COPIED_REPAIR)
    else:
        detail += ", as ModelOpt 0.41 to 0.45 writes it by a defect; this producer is not known for it"
        yield Finding("copied-input-scale", "info", where, detail, COPIED_REPAIR)


def from_version(subject: Subject) -> Iterator[Finding]:
    """Where scalars were not read: the defect that the producer's version is known for."""
    fused = [name for name in subject.census.tensors if name.endswith("down_proj_input_scale")]
    if fused and COPIED_FROM <= subject.version <= COPIED_UNTIL:
        detail = (
            "ModelOpt 0.41 to 0.45 with transformers 5 writes gate_up_proj_input_scale for down_proj_input_scale; "
            "the values were not read"
        )
        repair = "Fetch the checkpoint and inspect the folder"
        yield Finding("copied-input-scale", "info", first_of(fused, subject.census.tensors), detail, repair)


def _unequal_fused(subject: Subject) -> Iterator[Finding]:
    if found := scalars.unequal_fused_scales(subject.scalars):
        names = ", ".join(name.rsplit(".", 2)[1] for name in found[0])
        detail = (
            f"{count(found, 'group')} with different {found[0][0].rpartition('.')[2]} (the first: {names}); runtimes "
            "fuse them into one matrix with one scale, and ModelOpt writes them equal"
        )
        repair = "Export it again with ModelOpt, which takes the maximum over each group"
        where = first_of(found[0], subject.census.tensors)
        yield Finding("unequal-fused-scales", "warning", where, detail, repair)


def _clamped_kv(subject: Subject) -> Iterator[Finding]:
    found = scalars.all_one(subject.scalars)
    if found and subject.version == CLAMPED:
        detail = f"{count(found, 'KV-cache scale')}, each exactly 1.0: ModelOpt 0.37 raises smaller ones to 1.0"
        repair = "None needed; calibrated scales need an export by a later ModelOpt"
        yield Finding("kv-scales-one", "info", first_of(found, subject.census.tensors), detail, repair)


def _shared(subject: Subject) -> Iterator[Finding]:
    if found := scalars.shared_over_experts(subject.scalars):
        first = next(n for n in subject.scalars if n.startswith(found[0]) and n.endswith("down_proj.input_scale"))
        detail = (
            f"{count(found, 'layer')} with one down_proj input scale for all experts, as ModelOpt 0.47 with "
            "transformers 5 writes it (their maximum)"
        )
        yield Finding("shared-input-scale", "info", first_of([first], subject.census.tensors), detail, "None needed")


CHECKS = (
    Check("bad-tensor-scale", _bad_tensor_scale),
    Check("bad-input-scale", _bad_input_scale),
    Check("bad-kv-scale", _bad_kv_scale),
    Check("uncalibrated-input-scale", _uncalibrated),
    Check("copied-input-scale", _copied),
    Check("unequal-fused-scales", _unequal_fused),
    Check("kv-scales-one", _clamped_kv),
    Check("shared-input-scale", _shared),
)
