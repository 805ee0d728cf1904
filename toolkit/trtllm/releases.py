"""The loader of ``data/releases.yaml``: releases, the gpt-oss NVFP4 contract and GPUs, each fact with its source."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from toolkit.errors import PlanError


class Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Release(Facts):
    """``gpt_oss_nvfp4``: whether ``load_nvfp4_weights`` is in that release, as far as is known."""

    gpt_oss: bool
    gpt_oss_nvfp4: Literal["yes", "no", "unverified"] = "no"
    source: str


class GptOssNvfp4(Facts):
    """What the gpt-oss NVFP4 loader builds. ``moe_backend`` maps SM version to the one backend with a kernel."""

    source: str
    bf16_modules: tuple[str, ...]
    group_size: int
    pipeline_parallel: bool
    moe_backend: Mapping[int, str]
    confirm: str

    def exclude_modules(self, layers: int) -> tuple[str, ...]:
        """``exclude_modules`` as this loader builds the model: per-layer patterns first, in layer order."""
        per_layer = [name for name in self.bf16_modules if "{layer}" in name]
        rest = [name for name in self.bf16_modules if "{layer}" not in name]
        return (*(name.format(layer=layer) for layer in range(layers) for name in per_layer), *rest)


class Gpu(Facts):
    sm: int


class Targets(Facts):
    """All that trtkit knows about targets; ``checked`` is the day the facts were read."""

    checked: str
    releases: Mapping[str, Release]
    gpt_oss_nvfp4: GptOssNvfp4
    gpus: Mapping[str, Gpu]

    def release(self, name: str) -> Release:
        if name not in self.releases:
            # no guess: the nearest number may lack what the meant one has
            hint = f"Known: {', '.join(self.releases)}"
            raise PlanError(f"unknown TensorRT-LLM release {name!r}", where="target.release", hint=hint)
        return self.releases[name]

    def gpu(self, name: str) -> Gpu:
        if name not in self.gpus:
            near = difflib.get_close_matches(name.lower(), self.gpus, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(self.gpus)}"
            raise PlanError(f"unknown GPU {name!r}", where="target.gpu", hint=hint)
        return self.gpus[name]


@cache
def load_targets() -> Targets:
    data = yaml.safe_load((files("toolkit.trtllm") / "data" / "releases.yaml").read_text(encoding="utf-8"))
    return Targets.model_validate({**data, "checked": str(data["checked"])})
