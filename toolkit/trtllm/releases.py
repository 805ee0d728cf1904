"""TensorRT-LLM releases, grouped in eras that accept the same things, and the gpt-oss NVFP4 loader's contract."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from toolkit.trtllm.facts import Fact, Record, named_facts


class Accepts(Record):
    """What every release of an era takes. ``facts`` has one entry for each field that decides something.

    ``gpt_oss_nvfp4``: whether ``load_nvfp4_weights`` is in it: ``expected`` from the merge date, ``unverified`` where
    the date settles nothing; ``confirm`` is then the command that settles it inside the container.
    ``inline_quant_config``: ``config.json: quantization_config`` of ModelOpt is read, not only hf_quant_config.json.
    """

    title: str
    gpt_oss: bool
    gpt_oss_nvfp4: Literal["yes", "no", "expected", "unverified"]
    tensorrt_backend: bool
    trtllm_build: Literal["legacy", "deprecated", "removed"]
    inline_quant_config: bool
    moe_default: Literal["CUTLASS", "AUTO"]
    confirm: str | None = None
    facts: Mapping[str, Fact]

    def fact(self, key: str) -> Fact:
        return self.facts[key]


class Era(Accepts):
    name: str
    releases: tuple[str, ...]


class Release(Accepts):
    name: str
    era: str

    @property
    def source(self) -> str:
        """The source of what decides about a gpt-oss NVFP4 checkpoint."""
        return self.fact("gpt-oss-nvfp4" if self.gpt_oss else "gpt-oss").source


class GptOssNvfp4(Record):
    """What the gpt-oss NVFP4 loader builds in BF16, and the facts about it."""

    bf16_modules: tuple[str, ...]
    facts: Mapping[str, Fact]

    def exclude_modules(self, layers: int) -> tuple[str, ...]:
        """``exclude_modules`` as this loader builds the model: per-layer patterns first, in layer order."""
        per_layer = [name for name in self.bf16_modules if "{layer}" in name]
        rest = [name for name in self.bf16_modules if "{layer}" not in name]
        return (*(name.format(layer=layer) for layer in range(layers) for name in per_layer), *rest)


def parse_eras(data: Mapping[str, Any]) -> tuple[Era, ...]:
    return tuple(
        Era.model_validate({"name": name, **era, "facts": named_facts(f"trtllm-{name}", era["facts"], data["checked"])})
        for name, era in data["eras"].items()
    )


def parse_gpt_oss_nvfp4(data: Mapping[str, Any]) -> GptOssNvfp4:
    contract = data["gpt_oss_nvfp4"]
    facts = named_facts("gpt-oss-nvfp4", contract["facts"], data["checked"])
    return GptOssNvfp4.model_validate({**contract, "facts": facts})


def releases_of(eras: Iterable[Era]) -> dict[str, Release]:
    """Oldest first."""
    return {
        name: Release(name=name, era=era.name, **era.model_dump(exclude={"name", "releases"}))
        for era in eras
        for name in era.releases
    }


def spans(names: Iterable[str]) -> str:
    """``1.3.0rc0, 1.3.0rc1, 1.3.0rc2`` as ``1.3.0rc0 to rc2``; anything else is listed as it is."""
    groups: list[list[str]] = []
    for name in names:
        if groups and _follows(groups[-1][-1], name):
            groups[-1].append(name)
        else:
            groups.append([name])
    return ", ".join(_span(group) for group in groups)


def _follows(before: str, name: str) -> bool:
    match = re.fullmatch(r"(.*rc)(\d+)", name)
    return match is not None and before == f"{match[1]}{int(match[2]) - 1}"


def _span(group: list[str]) -> str:
    return ", ".join(group) if len(group) < 3 else f"{group[0]} to rc{group[-1].rpartition('rc')[2]}"
