"""The parts of a sweep that say what is compared, what is wanted and what it may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from toolkit.recipe.base import Section

RunnerKind = Literal["triton", "engine", "trtllm-bench"]
Strategy = Literal["auto", "grid", "ladder", "frontier"]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

VARIANT_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"


class VariantSection(Section):
    """The recipe with some keys changed: what is compared with what."""

    name: str = Field(pattern=VARIANT_PATTERN, max_length=40, description="Short name, used in records and reports.")
    set: dict[str, Any] = Field(
        {},
        description="Dotted keys and their values, as after --set. engine.output and serve.repository get the name as "
        "an ending where they are not among them.",
    )


class SloSection(Section):
    """Upper limits in milliseconds. p99 is the slowest request of fewer than 100."""

    ttft_p50_ms: Milliseconds | None = Field(None, description="Median time to the first token.")
    ttft_p99_ms: Milliseconds | None = Field(None, description="99th percentile of the time to the first token.")
    tpot_p50_ms: Milliseconds | None = Field(None, description="Median time per output token after the first.")
    tpot_p99_ms: Milliseconds | None = Field(None, description="99th percentile of the time per output token.")
    latency_p50_ms: Milliseconds | None = Field(None, description="Median time of a whole request.")
    latency_p99_ms: Milliseconds | None = Field(None, description="99th percentile of the time of a whole request.")

    @property
    def limits(self) -> dict[str, float]:
        """Those that are given, by name."""
        return {name: limit for name, limit in self if limit is not None}
