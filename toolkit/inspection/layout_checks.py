"""Checks of names, dtypes and shapes: whether the tensors are what a loader expects."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.errors import CheckpointError
from toolkit.inspection import defects
from toolkit.inspection.declared import MIXED, MODELLED, MODELLED_KV, algorithm_of, format_of, group_of, kv_algorithm
from toolkit.inspection.finding import Finding, Severity
from toolkit.inspection.foreign import shown
from toolkit.inspection.modules import Module
from toolkit.inspection.repaired import as_repaired
from toolkit.inspection.subject import Check, Subject, count, first_of, listed, module_place, said_in
from toolkit.models import registry

MXFP4_BLOCK = 32
WEIGHT_ONLY = "W4A16"  # such algorithms quantise no activation


def _unknown_format(subject: Subject) -> Iterator[Finding]:
    if found := defects.unknown_formats(subject.modules):
        parts = ", ".join(f"{shown(role)} {info.dtype} {list(info.shape)}" for role, info in found[0].tensors.items())
        detail = f"{count(found, 'module')} in no format that trtkit knows: the first has {parts}"
        repair = "Fetch the checkpoint again if a tensor is missing; else export it again with ModelOpt"
        is_foreign = subject.algo not in MODELLED | {MIXED} and format_of(subject.algo) is None
        severity: Severity = "info" if is_foreign else "error"  # tensors of a method that trtkit does not know
        yield Finding("unknown-format", severity, module_place(found[0]), detail, repair)


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
    def group(module: Module) -> int:
        return MXFP4_BLOCK if module.format == "mxfp4" else group_of(subject.algo_of(module))

    if found := defects.misshapen_scales(subject.modules, group):
        weight, scale, size = found[0].weight, found[0].block_scales, group(found[0])
        packed = list(weight.shape) if weight is not None else "no weight"
        detail = (
            f"{count(found, 'module')}: block scales {list(scale.shape)} are not one for {size} weights of {packed}"
        )
        repair = f"Export it again with group size {size}"
        yield Finding("block-scale-shape", "error", module_place(found[0]), detail, repair)


def _missing_input_scales(subject: Subject) -> Iterator[Finding]:
    missing = defects.missing_input_scales(subject.census.tensors)
    stems = ((name, name.removesuffix("input_scale")[:-1]) for name in missing)
    found = [name for name, stem in stems if WEIGHT_ONLY not in algorithm_of(stem, subject.algo, subject.layers)]
    if found:
        beside = found[0].removesuffix("input_scale") + "weight_scale_2"
        detail = (
            f"{count(found, 'tensor')} missing, the first '{shown(found[0])}': runtimes that quantise activations need "
            "it; one that takes a missing scale for 0 divides by it"
        )
        repair = (
            "Calibrate it again with ModelOpt; trtkit engine fills in 1.0, or takes the scales of the calibrated "
            "export in checkpoint.input_scales"
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
        repair = "None for the file as such; trtkit engine decodes them to BF16 for targets that need it"
        yield Finding("packed-attention", "info", module_place(found[0]), detail, repair)


def _unknown_architecture(subject: Subject) -> Iterator[Finding]:
    architecture = subject.census.architecture
    if registry.find(architecture) is None:
        detail = (
            f"trtkit does not know the tensors of {shown(architecture)}, so their names and shapes were not compared"
        )
        repair = f"None needed here; trtkit plan knows {', '.join(sorted(registry.FAMILIES))}"
        yield Finding("unknown-architecture", "info", "config.json", detail, repair)


def _foreign_format(subject: Subject) -> Iterator[Finding]:
    found = [module for module in subject.modules if module.format == "compressed-tensors"]
    if found:
        detail = f"{count(found, 'module')} in the layout of compressed-tensors (weight_packed), not of ModelOpt"
        repair = "None for the file as such; trtkit plan needs an export of ModelOpt"
        yield Finding("foreign-format", "info", module_place(found[0]), detail, repair)


def _redundant(subject: Subject) -> Iterator[Finding]:
    if found := defects.redundant_tensors(subject.census.tensors, subject.census.config):
        detail = f"{count(found, 'tensor')} that loaders compute or take from another: {listed(found)}"
        repair = "None for loaders; trtkit plan needs an export without them"
        yield Finding("redundant-tensor", "info", first_of(found, subject.census.tensors), detail, repair)


def _not_modelled(subject: Subject) -> str | None:
    """What is declared that ``toolkit.models`` has no tensors for."""
    algorithms = sorted({*subject.layers.values()} - {"NVFP4", "FP8"}) if subject.algo == MIXED else [subject.algo]
    if other := [each for each in algorithms if each not in MODELLED]:
        return f"format {listed(other)}"
    if any("weight_scale_inv" in module.tensors for module in subject.modules):
        return "format FP8 with block scales (weight_scale_inv)"
    kv_cache = kv_algorithm(subject.census)
    return f"KV cache {shown(kv_cache)}" if kv_cache not in MODELLED_KV else None


def _not_compared(subject: Subject) -> Iterator[Finding]:
    what, family = _not_modelled(subject), registry.find(subject.census.architecture)
    if what is not None and family is not None:
        detail = f"{what} is not compared with what {family.architecture} has; trtkit plan does not take it"
        repair = "None for the file as such; trtkit plan takes NVFP4, FP8, MXFP4 and unquantised checkpoints"
        yield Finding("not-compared", "info", said_in(subject), detail, repair)


def _does_not_fit(subject: Subject) -> Iterator[Finding]:
    """Compares with the architecture's own tensors; what another check explains is taken as if it were repaired."""
    census = subject.census
    family = registry.find(census.architecture)
    explained = any(found for check in _EXPLAIN for found in check(subject))
    if family is None or explained:
        return
    try:
        geometry = family.geometry(census.config, census.where)
        family.match(as_repaired(census.tensors, census.config), geometry, census.where)
    except CheckpointError as error:
        where = (error.where or census.where).removeprefix(f"{census.where}/")
        yield Finding("does-not-fit", "error", where, error.what, error.hint or "Take both from one export")


_EXPLAIN = (_unknown_format, _misshapen, _foreign_format, _not_compared)

CHECKS = (
    Check("unknown-format", _unknown_format),
    Check("untransposed-expert-scales", _untransposed),
    Check("block-scale-shape", _misshapen),
    Check("missing-input-scale", _missing_input_scales),
    Check("does-not-fit", _does_not_fit),
    Check("not-compared", _not_compared),
    Check("redundant-tensor", _redundant),
    Check("packed-attention", _packed_attention),
    Check("foreign-format", _foreign_format),
    Check("unknown-architecture", _unknown_architecture),
)
