"""What is not the same on both sides, key by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Class = Literal["identity", "context"]
ABSENT: Final = "(absent)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key with two values, as text. ``declared``: it was said to be what the comparison is about."""

    key: str
    of: Class
    baseline: str
    candidate: str
    declared: bool

    @property
    def forbids(self) -> bool:
        """Whether a change of the figures could be this key's doing unknown to the reader."""
        return self.of == "identity" and not self.declared

    def __str__(self) -> str:
        return f"{self.key}: {self.baseline} against {self.candidate}"


def differences(
    baseline: Mapping[str, Any], candidate: Mapping[str, Any], of: Class, declared: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Every key whose values differ, or that one side lacks, sorted.

    Nested mappings are walked, with keys joined by dots; lists and everything else are single values. ``declared``
    names keys, or parents of keys: ``software`` is also ``software.torch``.
    """
    left, right = _flat(baseline), _flat(candidate)
    found = []
    for key in sorted(left.keys() | right.keys()):
        values = (_text(left, key), _text(right, key))
        if values[0] != values[1]:
            found.append(Difference(key, of, *values, declared=_covered(key, declared)))
    return tuple(found)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _text(flat: Mapping[str, Any], key: str) -> str:
    """As text, so that a tuple equals the list that a JSON file makes of it."""
    if key not in flat:
        return ABSENT
    value = flat[key]
    return repr(list(value)) if isinstance(value, list | tuple) else str(value)


def _covered(key: str, declared: Collection[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in declared)
