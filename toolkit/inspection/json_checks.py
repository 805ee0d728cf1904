"""Checks of the JSON files: whether they are there, and what they say of each other and of the tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.checkpoint.names import CONFIG, INDEX, QUANT_CONFIG, TOKENIZER, WEIGHTS
from toolkit.checkpoint.quant import QuantSummary, quant_summary
from toolkit.checkpoint.words import short
from toolkit.inspection.declared import MIXED, format_of, inline_config, is_modelopt
from toolkit.inspection.defects import group_size
from toolkit.inspection.finding import Finding, Severity
from toolkit.inspection.foreign import shown
from toolkit.inspection.modules import QUANTISED, UNKNOWN, Module
from toolkit.inspection.subject import Check, Subject, count, listed, module_place, said_in


def _missing_quant_config(subject: Subject) -> Iterator[Finding]:
    if subject.census.quant_config is not None or not subject.formats & (QUANTISED - {"compressed-tensors"}):
        return
    inline = inline_config(subject.census)
    repair = "Write hf_quant_config.json, or take it from the export; trtkit engine writes it into a bundle"
    if not inline:
        detail = (
            f"{QUANT_CONFIG} is missing and config.json has no quantization_config: loaders take it for unquantised"
        )
        yield Finding("missing-quant-config", "error", QUANT_CONFIG, detail, repair)
    elif is_modelopt(inline):
        detail = (
            f"{QUANT_CONFIG} is missing: TensorRT-LLM 1.0 to 1.2 do not read ModelOpt's quantization_config in "
            "config.json and stop (Unsupported quantization_config)"
        )
        yield Finding("missing-quant-config", "warning", QUANT_CONFIG, detail, repair)


def _disagree(subject: Subject) -> Iterator[Finding]:
    census, inline = subject.census, inline_config(subject.census)
    if census.quant_config is None or not inline or census.quant is None:
        return
    other = quant_summary(census.config, None, census.where)
    different = _differences(census.quant, other, inline) if other is not None else []
    if different:
        detail = f"{QUANT_CONFIG} and quantization_config in config.json differ: {'; '.join(different)}"
        repair = f"TensorRT-LLM goes by {QUANT_CONFIG}; bring config.json in line with it"
        yield Finding("quant-configs-disagree", "warning", CONFIG, detail, repair)


def _differences(first: QuantSummary, inline: QuantSummary, keys: Mapping[str, Any]) -> list[str]:
    """Of what both files state: older ModelOpt leaves keys out of config.json."""
    pairs: list[tuple[str, object, object]] = []
    if "quant_algo" in keys:  # inline.algo falls back to quant_method
        pairs.append(("algorithm", first.algo, keys["quant_algo"]))
    if first.group_size is not None and inline.group_size is not None:
        pairs.append(("group size", first.group_size, inline.group_size))
    if "quant_method" in keys:
        pairs.append(("KV cache", _kv(first), _kv(inline)))
    found = [f"{what} {short(ours)} and {short(theirs)}" for what, ours, theirs in pairs if ours != theirs]
    only = set(first.exclude_modules) ^ set(inline.exclude_modules)
    if "ignore" in keys and first.algo != MIXED and only:
        found.append(f"only one excludes {listed(sorted(only))}")
    return found


def _kv(quant: QuantSummary) -> str | None:
    return None if quant.kv_cache_algo in (None, "none") else quant.kv_cache_algo


def _incomplete_inline(subject: Subject) -> Iterator[Finding]:
    """ModelOpt before 0.35: no block at all (0.29), or one without quant_method and targets (0.31 to 0.33)."""
    inline = inline_config(subject.census)
    quantised = subject.census.quant_config is not None and subject.formats & QUANTISED
    if quantised and "quant_method" not in inline:
        what = "has no quantization_config" if not inline else "has a quantization_config without quant_method"
        detail = f"config.json {what}, as ModelOpt before 0.35 writes it; {QUANT_CONFIG} says it all"
        repair = "None for TensorRT-LLM; other runtimes may not recognise the quantisation"
        yield Finding("incomplete-inline-config", "info", CONFIG, detail, repair)


def _algorithm(subject: Subject) -> Iterator[Finding]:
    found, quant = subject.formats & QUANTISED, subject.census.quant
    expected = format_of(subject.algo)
    if quant is None or not (found if not subject.algo else expected and found != {expected}):
        return
    stored = ", ".join(sorted(found)) or "nothing quantised"
    said = f"the quantisation is said to be {shown(subject.algo)}" if subject.algo else "the JSON names no quant_algo"
    detail = f"{said}, but the tensors are {stored}"
    repair = "Take the JSON files from the export that these weights came with"
    yield Finding("quant-algo-disagrees", "error", said_in(subject), detail, repair)


def _layers(subject: Subject) -> Iterator[Finding]:
    """Under MIXED_PRECISION a loader builds each module as ``quantized_layers`` has it, and the others unquantised."""
    if subject.algo != MIXED or subject.census.quant_config is None:
        return
    repair = "Take the JSON files from the export that these weights came with"
    if not subject.layers:
        detail = f"{MIXED} without quantized_layers: nothing says which module has which format"
        yield Finding("quantized-layers-disagree", "warning", said_in(subject), detail, repair)
    elif wrong := [module for module in subject.modules if _is_other(module, subject.algo_of(module))]:
        said, stored = shown(subject.algo_of(wrong[0]) or "unquantised"), wrong[0].format
        detail = (
            f"{count(wrong, 'module')} stored otherwise than quantized_layers says: the first is {stored}, not {said}"
        )
        yield Finding("quantized-layers-disagree", "error", module_place(wrong[0]), detail, repair)


def _is_other(module: Module, said: str) -> bool:
    """Norms and biases that an entry for their holder covers stay unquantised."""
    if not said:
        return module.format in QUANTISED
    expected = format_of(said)
    return expected is not None and module.format != expected and module.format != UNKNOWN and len(module.shape) >= 2


def _group_size(subject: Subject) -> Iterator[Finding]:
    quant = subject.census.quant
    if quant is None or quant.group_size is None:
        return
    sizes = {group_size(module) for module in subject.modules if module.format == "nvfp4"} - {None}
    if len(sizes) == 1 and quant.group_size not in sizes:
        stored = sizes.pop()
        detail = f"group_size is {quant.group_size!r}, but the tensors have one block scale for {stored} weights"
        repair = f"Set group_size to {stored} in both JSON files"
        yield Finding("group-size", "error", said_in(subject), detail, repair)


def _tokenizer(subject: Subject) -> Iterator[Finding]:
    if TOKENIZER not in subject.census.files:
        quant = subject.census.quant
        writes_none = "; ModelOpt's export writes none" if quant and quant.producer == "modelopt" else ""
        detail = f"there is no tokenizer.json{writes_none}, and serving needs one"
        repair = "Copy the tokenizer files of the source model here, or set checkpoint.tokenizer in a recipe to them"
        yield Finding("missing-tokenizer", "info", TOKENIZER, detail, repair)


def _unindexed(subject: Subject) -> Iterator[Finding]:
    """Hugging Face reads what the index names; a loader that takes every file would read these as well.

    Loaders know the copies in other layouts (``consolidated*``) and the adapters that publishers lay beside a model.
    """
    files = subject.census.files
    weights = [file for file in files if file.endswith(WEIGHTS) and "/" not in file]
    extra = [file for file in weights if file not in subject.census.shards]
    known = [file for file in extra if file.startswith(("consolidated", "adapter_"))]
    whose = "that the index does not name" if INDEX in files else f"beside {listed(subject.census.shards, 1)}"
    groups: tuple[tuple[Severity, list[str]], ...] = (
        ("warning", [file for file in extra if file not in known]),
        ("info", known),
    )
    for severity, found in groups:
        if found:
            detail = f"{count(found, 'safetensors file')} {whose}: {listed(found)}"
            repair = "Move what does not belong to the checkpoint out of the folder"
            yield Finding("unindexed-file", severity, shown(found[0]), detail, repair)


CHECKS = (
    Check("missing-quant-config", _missing_quant_config),
    Check("quant-configs-disagree", _disagree),
    Check("incomplete-inline-config", _incomplete_inline),
    Check("quant-algo-disagrees", _algorithm),
    Check("quantized-layers-disagree", _layers),
    Check("group-size", _group_size),
    Check("missing-tokenizer", _tokenizer),
    Check("unindexed-file", _unindexed),
)
