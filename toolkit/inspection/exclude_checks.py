"""Checks of the exclude list against the tensors."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.inspection import defects
from toolkit.inspection.finding import Finding, Severity
from toolkit.inspection.groups import pattern
from toolkit.inspection.modules import Module
from toolkit.inspection.subject import Check, Subject, count, listed, module_place, said_in
from toolkit.models import registry

REWRITE = "Rewrite the list in both JSON files from the tensors; trtkit engine does it in the bundle that it writes"


def _duplicates(subject: Subject) -> Iterator[Finding]:
    if found := defects.duplicate_excludes(_excludes(subject)):
        detail = f"the exclude list repeats {listed(found)}; ModelOpt 0.39 writes lm_head twice"
        repair = "None needed to load it; trtkit engine writes each entry once"
        yield Finding("duplicate-excludes", "info", said_in(subject), detail, repair)


def _excluded_but_quantised(subject: Subject) -> Iterator[Finding]:
    if found := defects.excluded_but_quantised(subject.modules, _excludes(subject)):
        detail = (
            f"{count(found, 'module')} on the exclude list but quantised: {_names(found)}; "
            "a loader builds them unquantised and meets packed bytes"
        )
        yield Finding("excluded-but-quantised", "error", module_place(found[0]), detail, REWRITE)


def _unlisted_linears(subject: Subject) -> Iterator[Finding]:
    found = defects.unlisted_linears(subject.modules, _excludes(subject)) if "NVFP4" in subject.algo else ()
    if found:
        family = registry.find(subject.census.architecture)
        # TensorRT-LLM's gpt-oss loader builds attention as BF16 without asking the list
        severity: Severity = "warning" if family is not None and family.name == "gpt-oss" else "error"
        detail = (
            f"{count(found, 'projection')} stored unquantised but not on the exclude list: {_names(found)}; "
            "a loader that goes by the list builds them quantised"
        )
        yield Finding("unlisted-linear", severity, module_place(found[0]), detail, REWRITE)


def _empty(subject: Subject) -> Iterator[Finding]:
    family = registry.find(subject.census.architecture)
    if subject.algo == "NVFP4" and not _excludes(subject) and family is not None and family.name == "gpt-oss":
        detail = (
            "the exclude list is empty, and TensorRT-LLM's gpt-oss loader replaces only a list that has entries: "
            "with an empty one it builds everything as NVFP4"
        )
        yield Finding("empty-excludes", "warning", said_in(subject), detail, REWRITE)


def _unlisted_head(subject: Subject) -> Iterator[Finding]:
    """Unlike routers and embeddings, every ModelOpt version lists these where it leaves them unquantised."""
    found = tuple(m for m in _others(subject) if m.name == "lm_head" or m.name.endswith(".mlp.gate"))
    if found and _excludes(subject):
        detail = (
            f"{count(found, 'Linear module')} stored unquantised but not on the exclude list: {_names(found)}; "
            "ModelOpt lists them, and a loader that goes by the list builds them quantised"
        )
        yield Finding("unlisted-head", "warning", module_place(found[0]), detail, REWRITE)


def _others(subject: Subject) -> tuple[Module, ...]:
    return defects.unlisted_others(subject.modules, _excludes(subject)) if "NVFP4" in subject.algo else ()


def _unlisted_others(subject: Subject) -> Iterator[Finding]:
    if found := tuple(m for m in _others(subject) if m.name != "lm_head" and not m.name.endswith(".mlp.gate")):
        detail = (
            f"{count(found, 'module')} stored unquantised and not on the exclude list, as ModelOpt up to 0.44 has it: "
            f"{_names(found)}"
        )
        repair = "None needed: the dtype of a tensor, not the list, tells whether it is quantised"
        yield Finding("unlisted-unquantised", "info", module_place(found[0]), detail, repair)


def _excludes(subject: Subject) -> tuple[str, ...]:
    return subject.census.quant.exclude_modules if subject.census.quant else ()


def _names(found: tuple[Module, ...]) -> str:
    return listed(dict.fromkeys(pattern(module.name) for module in found))


CHECKS = (
    Check("excluded-but-quantised", _excluded_but_quantised),
    Check("unlisted-linear", _unlisted_linears),
    Check("unlisted-head", _unlisted_head),
    Check("empty-excludes", _empty),
    Check("unlisted-unquantised", _unlisted_others),
    Check("duplicate-excludes", _duplicates),
)
