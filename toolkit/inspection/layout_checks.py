"""Checks of names, dtypes and shapes: whether the tensors are what a loader expects."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.errors import CheckpointError
from toolkit.inspection import defects
from toolkit.inspection.finding import Finding
from toolkit.inspection.repaired import as_repaired
from toolkit.inspection.subject import Check, Subject, count, first_of, module_place
from toolkit.models import registry

WEIGHT_ONLY = "W4A16"  # such algorithms quantise no activation


def _unknown_format(subject: Subject) -> Iterator[Finding]:
    if found := defects.unknown_formats(subject.modules):
        parts = ", ".join(f"{role} {info.dtype} {list(info.shape)}" for role, info in found[0].tensors.items())
        detail = f"{count(found, 'module')} in no format that trtkit knows: the first has {parts}"
        repair = "Fetch the checkpoint again if a tensor is missing; else export it again with ModelOpt"
        yield Finding("unknown-format", "error", module_place(found[0]), detail, repair)


def _untransposed(subject: Subject) -> Iterator[Finding]:
    tensors = subject.census.tensors
    if found := defects.untransposed_scales(tensors):
        shape = list(tensors[found[0]].shape)
        detail = (
            f"{count(found, 'tensor')} of expert block scales hold maxima along out, not along in (the first is "
            f"{shape}): the defect of ModelOpt 0.35.0 and 0.35.1. The packed weights are right"
        )
        repair = (
            "Export again with ModelOpt 0.37 or later, or set checkpoint.bf16 in a recipe to the BF16 source: "
            "the block scales are computed anew from it"
        )
        yield Finding("untransposed-expert-scales", "error", first_of(found, tensors), detail, repair)


def _misshapen(subject: Subject) -> Iterator[Finding]:
    if found := defects.misshapen_scales(subject.modules):
        weight, scale = found[0].weight, found[0].tensors["weight_scale"]
        packed = list(weight.shape) if weight is not None else "no weight"
        detail = f"{count(found, 'module')}: block scales {list(scale.shape)} are not one for 16 weights of {packed}"
        yield Finding(
            "block-scale-shape", "error", module_place(found[0]), detail, "Export it again with group size 16"
        )


def _missing_input_scales(subject: Subject) -> Iterator[Finding]:
    found = defects.missing_input_scales(subject.census.tensors)
    if found and WEIGHT_ONLY not in subject.algo:
        beside = found[0].removesuffix("input_scale") + "weight_scale_2"
        detail = (
            f"{count(found, 'tensor')} missing, the first {found[0]!r}: runtimes that quantise activations need it; "
            "one that takes a missing scale for 0 divides by it"
        )
        repair = (
            "Calibrate it again with ModelOpt; trtkit plan fills in 1.0, or takes the scales of the calibrated export "
            "in checkpoint.input_scales"
        )
        yield Finding("missing-input-scale", "error", first_of([beside], subject.census.tensors), detail, repair)


def _packed_attention(subject: Subject) -> Iterator[Finding]:
    family = registry.find(subject.census.architecture)
    found = defects.packed_attention(subject.modules)
    if found and family is not None and family.name == "gpt-oss":
        detail = (
            f"{count(found, 'attention projection')} stored as NVFP4; TensorRT-LLM's gpt-oss NVFP4 loader builds "
            "attention as BF16 whatever the exclude list says"
        )
        repair = "None for the file as such; trtkit plan decodes them to BF16 for targets that need it"
        yield Finding("packed-attention", "info", module_place(found[0]), detail, repair)


def _unknown_architecture(subject: Subject) -> Iterator[Finding]:
    architecture = subject.census.architecture
    if registry.find(architecture) is None:
        detail = f"trtkit does not know the tensors of {architecture}, so their names and shapes were not compared"
        repair = f"None needed here; trtkit plan knows {', '.join(sorted(registry.FAMILIES))}"
        yield Finding("unknown-architecture", "info", "config.json", detail, repair)


def _foreign_format(subject: Subject) -> Iterator[Finding]:
    found = [module for module in subject.modules if module.format == "compressed-tensors"]
    if found:
        detail = f"{count(found, 'module')} in the layout of compressed-tensors (weight_packed), not of ModelOpt"
        repair = "None for the file as such; trtkit plan needs an export of ModelOpt"
        yield Finding("foreign-format", "info", module_place(found[0]), detail, repair)


def _does_not_fit(subject: Subject) -> Iterator[Finding]:
    """Compares with the architecture's own tensors; what another check explains is taken as if it were repaired."""
    census = subject.census
    family = registry.find(census.architecture)
    explained = defects.unknown_formats(subject.modules) or defects.misshapen_scales(subject.modules)
    if family is None or explained or "compressed-tensors" in subject.formats:
        return
    try:
        geometry = family.geometry(census.config, census.where)
        family.match(as_repaired(census.tensors), geometry, census.where)
    except CheckpointError as error:
        where = (error.where or census.where).removeprefix(f"{census.where}/")
        yield Finding("does-not-fit", "error", where, error.what, error.hint or "Take both from one export")


CHECKS = (
    Check("unknown-format", _unknown_format),
    Check("untransposed-expert-scales", _untransposed),
    Check("block-scale-shape", _misshapen),
    Check("missing-input-scale", _missing_input_scales),
    Check("does-not-fit", _does_not_fit),
    Check("packed-attention", _packed_attention),
    Check("foreign-format", _foreign_format),
    Check("unknown-architecture", _unknown_architecture),
)
