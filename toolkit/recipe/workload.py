"""The parts of a sweep that say which requests are sent and when: ``bench.workload`` and ``bench.arrival``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from toolkit.recipe.base import RecipePath, Section

Rate = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Preset:
    """ISL, OSL (tokens) and the number of requests measured with them."""

    isl: int
    osl: int
    requests: int


PRESETS: Mapping[str, Preset] = {
    "1k/1k": Preset(1024, 1024, 3000),
    "8k/1k": Preset(8192, 1024, 1500),
    "1k/8k": Preset(1024, 8192, 1500),
    "32k/1k": Preset(32768, 1024, 1000),
    "1k/32k": Preset(1024, 32768, 1000),
}
"""NVIDIA's own (TensorRT-LLM docs/source/developer-guide/perf-overview.md @03e27c7, "Preparing a Dataset")."""


class WorkloadSection(Section):
    """How long the requests of a point are; their tokens come from `bench.prompts`, or from the trace itself."""

    kind: Literal["fixed", "uniform", "normal", "trace"] = Field(
        "fixed",
        description="Lengths: those of the point; from `ratio` of them up to them; normal around them; a file's.",
    )
    ratio: float | None = Field(
        None, gt=0, le=1, description="uniform: the shortest length as a share of ISL and of OSL, for example 0.8."
    )
    stdev: float | None = Field(
        None,
        ge=0,
        le=0.33,
        description="normal: the standard deviation as a share of the mean, which is ISL and OSL; cut at three of it.",
    )
    trace: RecipePath | None = Field(
        None, description="trace: JSON Lines of prompt or input_ids, output_tokens and, for a replay, arrival_s."
    )

    @model_validator(mode="after")
    def _what_belongs_to_the_kind(self) -> WorkloadSection:
        needs = {"uniform": "ratio", "normal": "stdev", "trace": "trace"}
        for kind, key in needs.items():
            given = getattr(self, key) is not None
            if given and self.kind != kind:
                raise ValueError(f"{key} is for kind {kind}. Leave it out, or set kind")
            if not given and self.kind == kind:
                raise ValueError(f"kind {kind} needs {key}")
        return self


class ArrivalSection(Section):
    """When requests are sent."""

    kind: Literal["closed", "poisson", "constant", "trace"] = Field(
        "closed",
        description="closed: a request when another has ended, at `bench.concurrency`. Else at their times whatever is "
        "in flight: `rate` a second, at random or evenly, or those of the trace.",
    )
    rate: tuple[Rate, ...] = Field((), description="poisson, constant: requests a second, one point each.")

    @model_validator(mode="after")
    def _rates_of_an_open_loop(self) -> ArrivalSection:
        is_open = self.kind in ("poisson", "constant")
        if is_open != bool(self.rate):
            what = f"kind {self.kind} needs rate" if is_open else f"rate is not for kind {self.kind}. Leave it out"
            raise ValueError(what)
        if len(set(self.rate)) < len(self.rate):
            raise ValueError("a rate stands twice. Ask for more trials with bench.repeats")
        return self
