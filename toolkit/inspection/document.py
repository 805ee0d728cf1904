"""The ``--json`` document of an inspection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from toolkit.inspection.groups import Group, groups
from toolkit.inspection.modules import Module
from toolkit.inspection.values import Deep, Values

if TYPE_CHECKING:
    from toolkit.inspection.inspection import Inspection


def document(inspection: Inspection) -> dict[str, Any]:
    """Plain data. ``formats`` has one row for modules that differ only in their layer and expert numbers."""
    return {
        "where": inspection.where,
        "architecture": inspection.architecture,
        "parameters": inspection.parameters,
        "bytes": inspection.nbytes,
        "tensors": sum(stored.tensors for stored in inspection.dtypes.values()),
        "dtypes": {
            dtype: {"tensors": stored.tensors, "elements": stored.elements, "bytes": stored.nbytes}
            for dtype, stored in inspection.dtypes.items()
        },
        "shards": dict(inspection.shards),
        "quantisation": asdict(inspection.quant) if inspection.quant is not None else None,
        "tokenizer": inspection.tokenizer,
        "formats": [{**_row(group), "count": group.count} for group in groups(inspection.modules)],
        "modules": [_row(module) for module in inspection.modules],
        "findings": [asdict(finding) for finding in inspection.findings],
        "checks": {"made": list(inspection.made), "not_made": list(inspection.not_made)},
        "values": _deep(inspection.deep) if inspection.deep is not None else None,
    }


def _row(item: Group | Module) -> dict[str, Any]:
    return {
        "name": item.name,
        "format": item.format,
        "shape": list(item.shape),
        "parameters": item.parameters,
        "bytes": item.nbytes,
    }


def _deep(deep: Deep) -> dict[str, Any]:
    modules = [
        {
            "name": each.module.name,
            **_values(each.values),
            "first_nan_byte": each.first_nan,
            "first_zero_byte": each.first_zero,
            "first_negative_byte": each.first_negative,
        }
        for each in deep.modules
    ]
    return {"total": _values(deep.total), "modules": modules, "skipped": list(deep.skipped)}


def _values(values: Values) -> dict[str, Any]:
    """The histogram as scale byte in hexadecimal → count, without zero counts."""
    return {**asdict(values), "histogram": dict(_histogram(enumerate(values.histogram)))}


def _histogram(counts: Iterable[tuple[int, int]]) -> Iterable[tuple[str, int]]:
    return ((f"{byte:#04x}", count) for byte, count in counts if count)
