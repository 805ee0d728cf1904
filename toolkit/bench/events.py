"""What a running sweep tells whoever listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.bench.grid import Point
from toolkit.bench.trial import Trial
from toolkit.errors import RecordError


@dataclass(frozen=True, slots=True)
class Resumed:
    """``finished`` trials were measured before; ``damaged`` ones will be measured again. ``total`` is None where the
    strategy decides."""

    folder: Path
    finished: int
    total: int | None
    damaged: tuple[RecordError, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """Trial ``number`` of ``total`` begins; ``why`` is the planner's reason."""

    number: int
    total: int | None
    point: Point
    why: str


@dataclass(frozen=True, slots=True)
class Answered:
    """``requests`` measured requests of the running trial have ended."""

    requests: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial was recorded."""

    trial: Trial


Event = Resumed | Started | Answered | Finished
