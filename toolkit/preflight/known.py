"""The loader of ``data/probes.yaml``: loader features, packages that break, drivers."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str


class Feature(Fact):
    """``object`` of ``module`` needs ``attribute``; ``without`` says what such a release does instead."""

    id: str
    architecture: str
    weights: Literal["nvfp4", "mxfp4"]
    module: str
    object: str
    attribute: str
    without: str
    fix: str


class BadPackage(Fact):
    package: str
    versions: tuple[str, ...]
    breaks: str
    fix: str


class Driver(Fact):
    """The oldest driver that runs ``architecture``."""

    architecture: str
    least: str


class Known(BaseModel):
    """``checked`` is the day these facts were read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checked: str
    features: tuple[Feature, ...]
    packages: tuple[BadPackage, ...]
    drivers: tuple[Driver, ...]

    def features_for(self, architecture: str, weights: str) -> tuple[Feature, ...]:
        wanted = (architecture, weights)
        return tuple(feature for feature in self.features if (feature.architecture, feature.weights) == wanted)

    def driver_for(self, architecture: str) -> str | None:
        return next((driver.least for driver in self.drivers if driver.architecture == architecture), None)


@cache
def load_known() -> Known:
    data = yaml.safe_load((files("toolkit.preflight") / "data" / "probes.yaml").read_text(encoding="utf-8"))
    return Known.model_validate({**data, "checked": str(data["checked"])})
