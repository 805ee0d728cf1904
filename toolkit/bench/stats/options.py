"""What counts as a change."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from toolkit.bench.stats.samples import Samples
from toolkit.errors import RecordError

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """``threshold`` is the least change that matters in practice, as a share: 0.02 is 2 %."""

    name: str
    better: Better
    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise RecordError(f"the threshold of {self.name} is {self.threshold:g}, it must be above 0")

    @property
    def log_threshold(self) -> float:
        """The threshold of a difference of logarithms, the same up and down."""
        return math.log1p(self.threshold)


THROUGHPUT = Metric("system_output_throughput_tok_s", "higher", 0.02)
METRICS = (
    THROUGHPUT,
    Metric("output_throughput_per_user_tok_s", "higher", 0.02),
    Metric("tpot_ms.p50", "lower", 0.02),
    Metric("ttft_ms.p50", "lower", 0.05),
    Metric("ttft_ms.p99", "lower", 0.10),
)


@dataclass(frozen=True, slots=True)
class Options:
    """How two samples are compared.

    ``alpha`` is the level of each cell's interval and tests. ``fdr`` is the share of wrong calls among those of a
    metric's cells (Benjamini–Hochberg), before the threshold takes many of them out. ``power`` is what the repeats
    needed aim at. ``declared`` names identity keys that may differ, because the comparison is about them. ``history``
    are earlier sweeps of the same setting, whose noise then counts: with it a single repeat can be compared. ``clip``
    pulls far repeats in (``arms``). ``seed`` and ``resamples`` are those of the headline's bootstrap.
    """

    metrics: tuple[Metric, ...] = METRICS
    alpha: float = 0.05
    fdr: float = 0.10
    power: float = 0.8
    declared: frozenset[str] = frozenset()
    history: tuple[Samples, ...] = field(default=())
    clip: bool = True
    seed: int = 0
    resamples: int = 2000

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("fdr", self.fdr), ("power", self.power)):
            if not 1e-6 < value < 1 - 1e-6:
                raise RecordError(f"{name} is {value:g}, it must lie between 0 and 1")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise RecordError("a metric stands twice in the options")
