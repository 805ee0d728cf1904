"""``inspect``: everything that headers, JSON and scalar scales say about a checkpoint, as pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.quant import QuantSummary
from toolkit.checkpoint.source import TOKENIZER
from toolkit.inspection import exclude_checks, json_checks, kv_checks, layout_checks, scalar_checks
from toolkit.inspection.document import document
from toolkit.inspection.finding import Finding, worst_first
from toolkit.inspection.modules import Module, modules, parameters
from toolkit.inspection.subject import Check, Subject
from toolkit.inspection.value_checks import IDS as VALUE_CHECKS
from toolkit.inspection.value_checks import value_findings
from toolkit.inspection.values import Deep

HEADER_CHECKS = (*layout_checks.CHECKS, *json_checks.CHECKS, *kv_checks.CHECKS, *exclude_checks.CHECKS)
SCALAR_CHECKS = scalar_checks.CHECKS


@dataclass(frozen=True, slots=True)
class Stored:
    """All tensors of one dtype."""

    tensors: int
    elements: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """``parameters`` counts weights and biases, two for each packed byte; ``nbytes`` is of all tensors with scales.

    ``made`` and ``not_made`` are ids of checks; a finding has the id of its check. ``deep`` is what reading the weights
    found, None where they were not read.
    """

    where: str
    architecture: str
    quant: QuantSummary | None
    parameters: int
    nbytes: int
    dtypes: Mapping[str, Stored]
    shards: Mapping[str, int]
    tokenizer: bool
    modules: tuple[Module, ...]
    findings: tuple[Finding, ...]
    made: tuple[str, ...]
    not_made: tuple[str, ...]
    deep: Deep | None = None

    def to_dict(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return document(self)


def inspect(census: Census, scalars: Mapping[str, float] | None) -> Inspection:
    """``scalars`` is what ``read_scalars`` returns, None where only headers were read: then their checks are not made.

    Raises ``CheckpointError`` if the quantisation in config.json is not what it should be.
    """
    found = modules(census.tensors)
    subject = Subject(census, found, scalars or {})
    checks: Sequence[Check] = HEADER_CHECKS + (SCALAR_CHECKS if scalars is not None else ())
    late: Iterator[Finding] = scalar_checks.from_version(subject) if scalars is None else iter(())
    skipped = () if scalars is not None else tuple(check.id for check in SCALAR_CHECKS)
    return Inspection(
        where=census.where,
        architecture=census.architecture,
        quant=census.quant,
        parameters=parameters(found),
        nbytes=sum(info.nbytes for info in census.tensors.values()),
        dtypes=_dtypes(census.tensors),
        shards=census.shards,
        tokenizer=TOKENIZER in census.files,
        modules=found,
        findings=worst_first([*(finding for check in checks for finding in check.run(subject)), *late]),
        made=tuple(check.id for check in checks),
        not_made=skipped + VALUE_CHECKS,
    )


def scalar_findings(census: Census, scalars: Mapping[str, float]) -> tuple[Finding, ...]:
    """What scalar scales alone say, of those in ``scalars``; the worst first."""
    subject = Subject(census, modules(census.tensors), scalars)
    return worst_first([finding for check in SCALAR_CHECKS for finding in check.run(subject)])


def with_values(inspection: Inspection, deep: Deep) -> Inspection:
    """The inspection with what ``inspect_values`` found."""
    return replace(
        inspection,
        findings=worst_first([*inspection.findings, *value_findings(deep)]),
        made=inspection.made + VALUE_CHECKS,
        not_made=tuple(check for check in inspection.not_made if check not in VALUE_CHECKS),
        deep=deep,
    )


def _dtypes(tensors: Mapping[str, TensorInfo]) -> dict[str, Stored]:
    """By bytes, the largest first."""
    rows: dict[str, list[TensorInfo]] = {}
    for info in tensors.values():
        rows.setdefault(info.dtype, []).append(info)
    stored = {
        dtype: Stored(len(infos), sum(info.elements for info in infos), sum(info.nbytes for info in infos))
        for dtype, infos in rows.items()
    }
    return dict(sorted(stored.items(), key=lambda item: -item[1].nbytes))
