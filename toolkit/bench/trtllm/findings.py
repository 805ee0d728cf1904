"""Values found in a report, by dotted path, on their way into a ``Measurement``."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from toolkit.bench.trtllm.measurement import (
    Dataset,
    Decoding,
    Energy,
    EngineInfo,
    Generation,
    Machine,
    Measurement,
    Part,
    Performance,
    RequestInfo,
    Source,
    Stats,
    Streaming,
    World,
)

STATS = ("p50", "p90", "p95", "p99", "minimum", "maximum", "average")
SECTIONS: dict[str, type[Part]] = {
    "engine": EngineInfo,
    "world": World,
    "request_info": RequestInfo,
    "performance": Performance,
    "dataset": Dataset,
    "machine": Machine,
    "streaming": Streaming,
    "decoding": Decoding,
    "energy": Energy,
}
DIGITS = 30
"""A number of more digits before its point, or places after it, was not measured."""


def _types() -> dict[str, type]:
    """int, float or str of every path that can hold a value."""
    found: dict[str, type] = {}
    for section, part in SECTIONS.items():
        for name, info in part.model_fields.items():
            if info.annotation is Stats:
                found |= {f"{section}.{name}.{key}": float for key in STATS}
            else:
                found[f"{section}.{name}"] = next(kind for kind in (int, float, str) if info.annotation == kind | None)
    return found


TYPES = _types()
GROUPS = {path.rpartition(".")[0] for path in TYPES if path.count(".") == 2}
"""Paths of statistics."""


@dataclass
class Findings:
    """``values`` by path, ``rounding`` by path (how far from the printed number the exact one can be), ``notes``.

    ``seen`` are the paths that were printed, be it as None or NaN; ``sections`` the optional ones, even empty.
    """

    values: dict[str, Any] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    sections: set[str] = field(default_factory=set)

    def add(self, path: str, value: object) -> None:
        """A printed text or a JSON value; None, "None" and "N/A" are missing, what is no number is missing and noted.

        The first value of a path stays: a report prints each once.
        """
        self.seen.add(path)
        if path in self.values or value is None or value in ("None", "N/A", ""):
            return
        if TYPES[path] is str:
            self._word(path, value)
            return
        number = _decimal(value)
        if number is None:
            self.notes.append(f"{path} is no number")
        elif not number.is_finite():
            self.notes.append(f"{path} is {'NaN' if number.is_nan() else 'infinite'}")
        elif number.adjusted() > DIGITS:
            self.notes.append(f"{path} is too large")
        elif number < 0:
            self.notes.append(f"{path} is negative")
        elif TYPES[path] is int and number != number.to_integral_value():
            self.notes.append(f"{path} is no whole number")
        else:
            self.values[path] = TYPES[path](number)
            self.rounding[path] = _half_unit(number)

    def _word(self, path: str, value: object) -> None:
        if isinstance(value, str):
            # documents and console spell the one policy in words, the JSON as the enumeration does
            is_policy = path == "world.scheduling_policy"
            self.values[path] = value.upper().replace(" ", "_") if is_policy else value
        else:
            self.notes.append(f"{path} is no text")

    def measurement(self, source: Source, generation: Generation | None) -> Measurement:
        """Without checks and ``missing``."""
        nested: dict[str, dict[str, Any]] = {section: {} for section in self.sections}
        for path, value in self.values.items():
            section, name, *rest = path.split(".")
            into = nested.setdefault(section, {})
            if rest:
                into.setdefault(name, {})[rest[0]] = value
            else:
                into[name] = value
        notes = tuple(self.notes)
        return Measurement.model_validate({"source": source, "generation": generation, "notes": notes, **nested})


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None  # no number, or one with an exponent that no number has


def _half_unit(number: Decimal) -> float:
    """Half of the last printed digit's unit; 0 for a whole number without a point."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent == 0 or exponent < -DIGITS:
        return 0.0
    return float(Decimal(1).scaleb(exponent)) / 2
