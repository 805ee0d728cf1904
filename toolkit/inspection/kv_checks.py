"""Checks of the KV cache's scales: whether they are there, for every layer, and whether the JSON speaks of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolkit.inspection.declared import kv_algorithm
from toolkit.inspection.finding import Finding
from toolkit.inspection.foreign import shown
from toolkit.inspection.groups import pattern
from toolkit.inspection.scalars import KV_SCALES
from toolkit.inspection.subject import Check, Subject, count, first_of, listed, said_in


def _kv_scales(subject: Subject) -> list[str]:
    """ModelOpt writes them for every layer with an FP8 or NVFP4 KV cache, and none without."""
    return [name for name in subject.census.tensors if name.endswith(KV_SCALES)]


def _missing(subject: Subject) -> Iterator[Finding]:
    said = kv_algorithm(subject.census)
    if said and not _kv_scales(subject):
        detail = f"the JSON says the KV cache is {shown(said)}, but there is no k_scale or v_scale; a loader takes 1.0"
        repair = "None needed for FP8; for NVFP4 export again with the KV cache calibrated"
        yield Finding("kv-scales-missing", "info", said_in(subject), detail, repair)


def _partial(subject: Subject) -> Iterator[Finding]:
    """Each module that holds a k_proj has one k_scale and one v_scale, in it or in what it holds."""
    scales = _kv_scales(subject)
    names = [module.name for module in subject.modules]
    if kv_algorithm(subject.census) and scales and (lacking := _lacking(names, scales)):
        missing = listed(dict.fromkeys(pattern(name) for name in lacking))
        detail = f"{count(lacking, 'KV-cache scale')} missing beside the {len(scales):,} that are there: {missing}"
        repair = "Fetch the checkpoint again, or export it again with the KV cache calibrated in every layer"
        yield Finding("kv-scales-partial", "warning", first_of(scales, subject.census.tensors), detail, repair)


def _lacking(modules: Sequence[str], scales: Sequence[str]) -> list[str]:
    attentions = dict.fromkeys(name.removesuffix(".k_proj") for name in modules if name.endswith(".k_proj"))
    there = set()
    for name in scales:
        holder, _, tail = name.rpartition(".")
        while holder and holder not in attentions:
            holder = holder.rpartition(".")[0]
        there.add((holder, tail))
    return [f"{name}.{kind}" for name in attentions for kind in ("k_scale", "v_scale") if (name, kind) not in there]


def _unsaid(subject: Subject) -> Iterator[Finding]:
    if subject.algo and not kv_algorithm(subject.census) and (scales := _kv_scales(subject)):
        detail = f"{count(scales, 'KV-cache scale')}, but the JSON says nothing of the KV cache: they are not used"
        repair = "Set kv_cache_quant_algo in hf_quant_config.json, or engine.kv_cache_dtype in the recipe"
        yield Finding("kv-scheme-unsaid", "warning", first_of(scales, subject.census.tensors), detail, repair)


CHECKS = (
    Check("kv-scales-missing", _missing),
    Check("kv-scales-partial", _partial),
    Check("kv-scheme-unsaid", _unsaid),
)
