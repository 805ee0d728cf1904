"""How much of a tensor survives a change of its number format."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class Report:
    """Of blocks of 32 values. Reports of parts of a tensor, or of several tensors, add up with ``+``.

    ``exact_blocks`` keep every value; ``out_of_range`` lie below what the target's block scale can hold (casts only);
    ``squared_error`` and ``squared_norm`` are sums over the values in float64, of new - old and of old.
    """

    blocks: int = 0
    exact_blocks: int = 0
    out_of_range: int = 0
    squared_error: float = 0.0
    squared_norm: float = 0.0

    def __add__(self, other: Report) -> Report:
        return Report(
            self.blocks + other.blocks,
            self.exact_blocks + other.exact_blocks,
            self.out_of_range + other.out_of_range,
            self.squared_error + other.squared_error,
            self.squared_norm + other.squared_norm,
        )

    @property
    def inexact_blocks(self) -> int:
        return self.blocks - self.exact_blocks

    @property
    def exact_share(self) -> float:
        """1.0 of an empty tensor."""
        return self.exact_blocks / self.blocks if self.blocks else 1.0

    @property
    def relative_rms(self) -> float:
        """Root of squared error over squared norm; 0.0 where there is no error."""
        return sqrt(self.squared_error / self.squared_norm) if self.squared_error else 0.0
