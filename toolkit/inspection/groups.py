"""Modules that differ only in their layer and expert numbers, as one row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from toolkit.inspection.modules import Module

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Group:
    """``name`` has ``*`` for every number; all ``count`` modules have this format and shape."""

    name: str
    format: str
    shape: tuple[int, ...]
    count: int
    parameters: int
    nbytes: int


def pattern(name: str) -> str:
    """``model.layers.3.mlp`` as ``model.layers.*.mlp``."""
    return _NUMBER.sub("*", name)


def groups(found: Iterable[Module]) -> tuple[Group, ...]:
    """In the order in which they first appear."""
    rows: dict[tuple[str, str, tuple[int, ...]], list[Module]] = {}
    for module in found:
        rows.setdefault((pattern(module.name), module.format, module.shape), []).append(module)
    return tuple(_group(*key, members) for key, members in rows.items())


def _group(name: str, format: str, shape: tuple[int, ...], members: Sequence[Module]) -> Group:
    parameters = sum(module.parameters for module in members)
    return Group(name, format, shape, len(members), parameters, sum(module.nbytes for module in members))
