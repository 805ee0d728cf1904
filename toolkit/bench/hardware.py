"""What a recipe is measured on, and what is read of it while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from toolkit.bench.environment import Environment, fingerprint
from toolkit.bench.environment.gpus import find_gpus
from toolkit.bench.telemetry import Recording, sampling
from toolkit.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Hardware:
    """``gpus`` are those whose telemetry is read; none for a CPU."""

    environment: Environment
    gpus: tuple[int, ...]

    @contextmanager
    def watched(self, *, own_server: bool) -> Iterator[Recording]:
        """Readings of the length of the block; see ``toolkit.bench.telemetry.sampling``."""
        with sampling(self.gpus, own_server=own_server) as recording:
            yield recording


def hardware_of(recipe: Recipe) -> Hardware:
    """This machine's GPUs for runtime tensorrt-llm, else its CPU; ``EngineError`` where there is no GPU."""
    if recipe.target.runtime == "cpu":
        return Hardware(fingerprint(), ())
    return Hardware(fingerprint(gpu=True), find_gpus(os.environ).indices)
