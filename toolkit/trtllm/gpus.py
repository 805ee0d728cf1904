"""The GPUs that a recipe may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import PositiveInt

from toolkit.trtllm.facts import Fact, Record, named_facts


class Gpu(Record):
    """``memory_bytes``: the whole memory that software sees, without what a context or a display already holds.

    ``unified``: CPU and GPU share it. ``driver_min``: the first driver for this GPU, None where no source was found;
    an image may ask for a later one.
    """

    name: str
    title: str
    sm: PositiveInt
    memory_bytes: PositiveInt
    kind: Literal["datacenter", "workstation", "consumer", "unified"]
    driver_min: str | None
    facts: Mapping[str, Fact]

    def fact(self, key: str) -> Fact:
        return self.facts[key]


def parse_gpus(data: Mapping[str, Any]) -> dict[str, Gpu]:
    return {
        name: Gpu.model_validate({"name": name, **gpu, "facts": named_facts(name, gpu["facts"], data["checked"])})
        for name, gpu in data["gpus"].items()
    }
