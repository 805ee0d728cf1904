"""Checks of the JSON files: whether they are there, and what they say of each other and of the tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.checkpoint.quant import QuantSummary, quant_summary
from toolkit.checkpoint.source import CONFIG, QUANT_CONFIG, TOKENIZER
from toolkit.inspection.finding import Finding
from toolkit.inspection.modules import QUANTISED
from toolkit.inspection.subject import Check, Subject, count, first_of, listed
from toolkit.numerics.nvfp4 import BLOCK


def _inline(subject: Subject) -> Mapping[str, Any]:
    inline = subject.census.config.get("quantization_config")
    return inline if isinstance(inline, Mapping) else {}


def said_in(subject: Subject) -> str:
    """The file that the quantisation was read from."""
    return QUANT_CONFIG if subject.census.quant_config is not None else CONFIG


def _missing_quant_config(subject: Subject) -> Iterator[Finding]:
    if subject.census.quant_config is not None or not subject.formats & {"nvfp4", "fp8", "mxfp4"}:
        return
    inline = _inline(subject)
    repair = "Write hf_quant_config.json, or take it from the export; trtkit plan writes it"
    if not inline:
        detail = (
            f"{QUANT_CONFIG} is missing and config.json has no quantization_config: loaders take it for unquantised"
        )
        yield Finding("missing-quant-config", "error", QUANT_CONFIG, detail, repair)
    elif str(inline.get("quant_method", "modelopt")) == "modelopt":
        detail = (
            f"{QUANT_CONFIG} is missing: TensorRT-LLM 1.0 to 1.2 do not read ModelOpt's quantization_config in "
            "config.json and stop (Unsupported quantization_config)"
        )
        yield Finding("missing-quant-config", "warning", QUANT_CONFIG, detail, repair)


def _disagree(subject: Subject) -> Iterator[Finding]:
    census, inline = subject.census, _inline(subject)
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
    if "quant_algo" in keys:
        pairs.append(("algorithm", first.algo, inline.algo))
    if first.group_size is not None and inline.group_size is not None:
        pairs.append(("group size", first.group_size, inline.group_size))
    if "quant_method" in keys:
        pairs.append(("KV cache", _kv(first), _kv(inline)))
    found = [f"{what} {ours!r} and {theirs!r}" for what, ours, theirs in pairs if ours != theirs]
    only = set(first.exclude_modules) ^ set(inline.exclude_modules)
    if "ignore" in keys and first.algo != "MIXED_PRECISION" and only:
        found.append(f"only one excludes {listed(sorted(only))}")
    return found


def _kv(quant: QuantSummary) -> str | None:
    return None if quant.kv_cache_algo in (None, "none") else quant.kv_cache_algo


def _incomplete_inline(subject: Subject) -> Iterator[Finding]:
    """ModelOpt before 0.35: no block at all (0.29), or one without quant_method and targets (0.31 to 0.33)."""
    inline = _inline(subject)
    quantised = subject.census.quant_config is not None and subject.formats & QUANTISED
    if quantised and "quant_method" not in inline:
        what = "has no quantization_config" if not inline else "has a quantization_config without quant_method"
        detail = f"config.json {what}, as ModelOpt before 0.35 writes it; {QUANT_CONFIG} says it all"
        repair = "None for TensorRT-LLM; other runtimes may not recognise the quantisation"
        yield Finding("incomplete-inline-config", "info", CONFIG, detail, repair)


def _algorithm(subject: Subject) -> Iterator[Finding]:
    expected = _expected_format(subject.algo)
    found = subject.formats & QUANTISED
    if expected is not None and (expected not in found or found - {expected}):
        stored = ", ".join(sorted(found)) or "nothing quantised"
        detail = f"the quantisation is said to be {subject.algo}, but the tensors are {stored}"
        repair = "Take the JSON files from the export that these weights came with"
        yield Finding("quant-algo-disagrees", "error", said_in(subject), detail, repair)


def _expected_format(algo: str) -> str | None:
    """None where the name alone does not tell (MIXED_PRECISION, other methods)."""
    if "NVFP4" in algo:
        return "nvfp4"
    return {"FP8": "fp8", "MXFP4": "mxfp4"}.get(algo)


def _group_size(subject: Subject) -> Iterator[Finding]:
    quant = subject.census.quant
    if quant is None or quant.group_size in (None, BLOCK) or "nvfp4" not in subject.formats:
        return
    detail = f"group_size is {quant.group_size!r}, but NVFP4 has one block scale for 16 weights"
    yield Finding("group-size", "error", said_in(subject), detail, "Set group_size to 16 in both JSON files")


def _tokenizer(subject: Subject) -> Iterator[Finding]:
    if TOKENIZER not in subject.census.files:
        writes_none = "; ModelOpt's export writes none" if subject.algo else ""
        detail = f"there is no tokenizer.json{writes_none}, and serving needs one"
        repair = "Copy the tokenizer files of the source model here, or set checkpoint.tokenizer in a recipe to them"
        yield Finding("missing-tokenizer", "info", TOKENIZER, detail, repair)


def _kv_scales(subject: Subject) -> list[str]:
    """ModelOpt writes them for every layer with an FP8 or NVFP4 KV cache, and none without."""
    return [name for name in subject.census.tensors if name.endswith((".k_scale", ".v_scale"))]


def _kv_scales_missing(subject: Subject) -> Iterator[Finding]:
    said = _kv(subject.census.quant) if subject.census.quant else None
    if said is not None and not _kv_scales(subject):
        detail = f"the JSON says the KV cache is {said}, but there is no k_scale or v_scale; a loader takes 1.0"
        repair = "None needed for FP8; for NVFP4 export again with the KV cache calibrated"
        yield Finding("kv-scales-missing", "info", said_in(subject), detail, repair)


def _kv_scheme_unsaid(subject: Subject) -> Iterator[Finding]:
    said = _kv(subject.census.quant) if subject.census.quant else None
    if subject.algo and said is None and (scales := _kv_scales(subject)):
        detail = f"{count(scales, 'KV-cache scale')}, but the JSON says nothing of the KV cache: they are not used"
        repair = "Set kv_cache_quant_algo in hf_quant_config.json, or engine.kv_cache_dtype in the recipe"
        yield Finding("kv-scheme-unsaid", "warning", first_of(scales, subject.census.tensors), detail, repair)


def _unindexed(subject: Subject) -> Iterator[Finding]:
    """Hugging Face reads what the index names; a loader that takes every file would read these as well."""
    weights = [file for file in subject.census.files if file.endswith(".safetensors") and "/" not in file]
    if extra := [file for file in weights if file not in subject.census.shards]:
        detail = f"{count(extra, 'safetensors file')} that the index does not name: {listed(extra)}"
        repair = "Move what does not belong to the checkpoint out of the folder"
        yield Finding("unindexed-file", "warning", extra[0], detail, repair)


CHECKS = (
    Check("missing-quant-config", _missing_quant_config),
    Check("quant-configs-disagree", _disagree),
    Check("incomplete-inline-config", _incomplete_inline),
    Check("quant-algo-disagrees", _algorithm),
    Check("group-size", _group_size),
    Check("missing-tokenizer", _tokenizer),
    Check("kv-scales-missing", _kv_scales_missing),
    Check("kv-scheme-unsaid", _kv_scheme_unsaid),
    Check("unindexed-file", _unindexed),
)
