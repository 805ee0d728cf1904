"""``Needs``: what a recipe's target asks of a machine, as pure data. ``toolkit.preflight.demand`` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.preflight.finding import Finding
from toolkit.preflight.known import Feature

MIB, GIB = 1 << 20, 1 << 30
# Triton's Python backend: 1 MiB a model process, grown by the largest request (about 150 MiB for one of 64 MiB).
CPU_SHM = 64 * MIB
# NVIDIA's Triton documentation starts its containers with 1 to 2 GB.
GPU_SHM = GIB


@dataclass(frozen=True, slots=True)
class GpuNeeds:
    """``known`` has the SM of every GPU, ``releases`` every release that a recipe may name.

    ``memory`` of a GPU and ``weights`` of the heaviest rank in bytes; ``unified`` says that GPU and CPU share theirs.
    ``driver`` is the oldest that works, ``shipped`` the one that the release's images were built with; ``image`` is
    TensorRT-LLM's own, ``triton_image`` the newest Triton with this release. ``named`` is how the user named the
    recipe, for commands to type.
    """

    release: str
    gpu: str
    sm: int
    count: int
    known: Mapping[str, int]
    releases: tuple[str, ...]
    image: str
    triton_image: str | None = None
    memory: int | None = None
    driver: str | None = None
    shipped: str | None = None
    weights: int | None = None
    unified: bool = False
    named: str = "RECIPE"


@dataclass(frozen=True, slots=True)
class Needs:
    """``gpu`` is None for the CPU runtime; ``plan`` says whether the target can load the checkpoint at all.

    ``shm`` in bytes; ``output_bytes`` of the bundle and ``fetch_bytes`` of a download, None if unknown. ``ports`` are
    the fixed ones, by the names that ``serving.ports`` has. ``named`` is how the user named the recipe.
    """

    plan: Finding
    output: Path
    gpu: GpuNeeds | None = None
    shm: int = CPU_SHM
    output_bytes: int | None = None
    repo: str | None = None
    fetch_bytes: int | None = None
    harmony: bool = False
    features: tuple[Feature, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    named: str = "RECIPE"
