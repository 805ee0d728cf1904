"""A checkpoint as it will be planned."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.checkpoint.census import Census
from toolkit.checkpoint.header import TensorInfo
from toolkit.models.geometry import Geometry
from toolkit.models.layout import Layout
from toolkit.models.registry import Family
from toolkit.plan.repairs import Tensors
from toolkit.plan.rewrite import Changes
from toolkit.plan.types import Copy


@dataclass(frozen=True, slots=True)
class Model:
    """``tensors`` are sound, ``repairs`` makes them so; ``copies`` go along; ``predicted``: nothing was read."""

    census: Census
    family: Family
    geometry: Geometry
    stored: Layout
    tensors: dict[str, TensorInfo]
    repairs: Changes
    copies: tuple[Copy, ...]
    input_scales: Tensors | None
    predicted: bool
