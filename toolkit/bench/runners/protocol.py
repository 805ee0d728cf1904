"""A runner opens one variant at a time, and measures as many of its points as there are with one start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from toolkit.bench.checks import Check, Status
from toolkit.bench.grid import Point
from toolkit.bench.metrics import Metrics
from toolkit.bench.trial import ServedBy
from toolkit.bench.workload import Arrival, Drawn
from toolkit.engine.bundle import Bundle
from toolkit.recipe import Recipe, RunnerKind


@dataclass(frozen=True, slots=True)
class Variant:
    """What is measured under ``name``: a recipe and the bundle that was built from it."""

    name: str
    recipe: Recipe
    bundle: Bundle

    @property
    def fixed(self) -> bool:
        """Whether all requests of a point have the same lengths."""
        return self.recipe.bench.workload.kind == "fixed"


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one point. ``metrics`` come with ``ok`` alone; ``conditions`` are checks of what is not kept.

    ``evidence`` holds the files to be kept by name, ``command`` the command line that was run, ``server`` what was
    measured through. ``stopped`` says why nothing more can be measured in this session.
    """

    status: Status
    error: str | None
    checks: tuple[Check, ...]
    metrics: Metrics | None
    conditions: tuple[Check, ...] = ()
    evidence: Mapping[str, bytes] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    server: ServedBy | None = None
    stopped: str | None = None


class Session(Protocol):
    """One variant that is loaded, or can be."""

    def measure(self, point: Point, drawn: Drawn, arrival: Arrival, on_request: Callable[[int], None]) -> Measured:
        """Measure ``point``; ``on_request`` gets the number of measured requests that have ended.

        What goes wrong while it is measured is in the answer. Ctrl-C raises ``KeyboardInterrupt``, or gives the status
        ``interrupted`` where there is something to keep.
        """
        ...


class Runner(Protocol):
    @property
    def kind(self) -> RunnerKind: ...

    def open(self, variant: Variant) -> AbstractContextManager[Session]:
        """Start what measures ``variant`` for the length of the block; a ``TrtkitError`` says why it cannot."""
        ...
