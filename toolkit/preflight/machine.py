"""``Machine``: what the checks judge, as pure data. ``toolkit.preflight.gather`` fills it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from toolkit.bench.environment.devices import Nvidia


@dataclass(frozen=True, slots=True)
class Storage:
    """A file system at ``path`` (the nearest folder that exists), bytes. Equal ``device`` means the same one."""

    path: str
    total: int
    free: int
    writable: bool
    device: int = 0


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Memory of the host in bytes; ``available`` is what programs can get without swapping."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Soft resource limits: locked memory and stack in bytes, open files. None means unlimited."""

    memlock: int | None
    stack: int | None
    nofile: int | None


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Harmony's vocabulary file. ``base`` says whether TIKTOKEN_ENCODINGS_BASE is set; otherwise it is a download.

    ``problem`` is what is wrong with a damaged one. ``kept`` is the folder of trtkit's own cache, if it has the file,
    ``tokenizer`` that of the checkpoint's tokenizer.json, if it is gpt-oss's and so holds the same vocabulary.
    """

    base: bool
    path: str
    state: Literal["good", "absent", "damaged"]
    problem: str | None = None
    kept: str | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """Whether an attribute is there; ``problem`` is why that is not known."""

    found: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is there (``detail``) or not (``problem`` and its ``fix``)."""

    detail: str = ""
    problem: str | None = None
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """``packages`` are versions as pip knows them, None for one that is not installed.

    ``visible`` is CUDA_VISIBLE_DEVICES, ``cuda_installed`` CUDA_VERSION as NVIDIA's images set it. ``tokenizer`` is the
    folder that has one, ``probes`` the outcome of each loader probe by id. ``shm`` and ``cache`` are None where there
    is no such folder; ``unread`` is why nothing is known of what is in the cache. ``host_memory`` is None
    where /proc/meminfo does not say.
    """

    python: str
    packages: Mapping[str, str | None]
    nvidia: Nvidia
    visible: str | None
    cuda_installed: str | None
    shm: Storage | None
    limits: Limits
    output: Storage
    has_bundle: bool
    cache: Storage | None
    cached: bool
    offline: bool
    tokenizer: str | None
    vocabulary: Vocabulary | None
    ports: Part
    triton: Part
    probes: Mapping[str, Probed] = field(default_factory=dict)
    unread: Part | None = None
    host_memory: HostMemory | None = None
