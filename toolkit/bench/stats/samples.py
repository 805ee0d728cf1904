"""What is compared: the repeats of every metric in every cell, and what they were measured on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit.errors import RecordError

Condition: TypeAlias = str | int | float | bool | None
Cell: TypeAlias = tuple[tuple[str, Condition], ...]
Repeats: TypeAlias = tuple[float, ...]


def cell_of(conditions: Mapping[str, Condition]) -> Cell:
    """The key of a cell: names and values, sorted by name."""
    return tuple(sorted(conditions.items()))


@dataclass(frozen=True)
class Samples:
    """The ok trials of a sweep. A pinned baseline is one that was written down with ``to_dict``.

    ``cells`` has for each cell the repeats of each metric by name, in the metric's unit. ``identity`` and ``context``
    are nested mappings of plain values: what must be equal for a comparison to mean anything, and what is only told.
    """

    name: str
    cells: Mapping[Cell, Mapping[str, Repeats]]
    identity: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    context: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(
        cls,
        name: str,
        trials: Iterable[tuple[Mapping[str, Condition], Mapping[str, float]]],
        identity: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Samples:
        """From one (conditions, metrics) a trial; trials of equal conditions are repeats."""
        cells: dict[Cell, dict[str, Repeats]] = {}
        for conditions, metrics in trials:
            cell = cells.setdefault(cell_of(conditions), {})
            for metric, value in metrics.items():
                cell[metric] = (*cell.get(metric, ()), value)
        return cls(name, cells, identity or {}, context or {})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON file, which ``from_dict`` reads; a value that is not finite becomes null."""
        pinned = Pinned(
            name=self.name,
            identity=dict(self.identity),
            context=dict(self.context),
            cells=tuple(
                PinnedCell(
                    conditions=dict(cell),
                    metrics={name: tuple(map(_finite, values)) for name, values in metrics.items()},
                )
                for cell, metrics in self.cells.items()
            ),
        )
        return pinned.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: object, where: str | None = None) -> Samples:
        """``RecordError`` that names the key, with ``where`` it was read, when ``data`` is not of ``to_dict``."""
        try:
            pinned = Pinned.model_validate(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            keys = ".".join(map(str, first["loc"]))
            raise RecordError(f"not a pinned baseline: {keys}: {first['msg']}", where=where) from None
        cells: dict[Cell, Mapping[str, Repeats]] = {}
        for one in pinned.cells:
            cell = cell_of(one.conditions)
            if cell in cells:
                raise RecordError(f"the cell {label(cell)} stands twice", where=where)
            cells[cell] = {
                name: tuple(float("nan") if value is None else value for value in values)
                for name, values in one.metrics.items()
            }
        return cls(pinned.name, cells, pinned.identity, pinned.context)


def label(cell: Cell, without: Iterable[str] = ()) -> str:
    """``concurrency=8 isl=1024``, in the order of the key."""
    hidden = set(without)
    return " ".join(f"{name}={value}" for name, value in cell if name not in hidden) or "the only cell"


def sort_key(cell: Cell) -> tuple[tuple[str, bool, float, str], ...]:
    """Numbers by size, everything else after them as text."""
    return tuple(
        (name, False, float(value), "") if isinstance(value, int | float) else (name, True, 0.0, str(value))
        for name, value in cell
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class PinnedCell(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    conditions: dict[str, Condition]
    metrics: dict[str, tuple[float | None, ...]]


class Pinned(BaseModel):
    """The file of a baseline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: str
    identity: dict[str, Any]
    context: dict[str, Any]
    cells: tuple[PinnedCell, ...]
