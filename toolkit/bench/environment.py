"""What the measurements were made on: a fingerprint without names of people or machines."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

import toolkit
from toolkit.bench.canonical import digest
from toolkit.engine.runtime.cpu.blas import can_set_threads
from toolkit.engine.versions import versions
from toolkit.resources import triton_repo_dir

PACKAGE = Path(toolkit.__file__).parent
MEASURED = ("bench/load.py", "bench/workload", "checkpoint", "engine", "models", "numerics", "serving")
SOURCES = (".py", ".c", ".h")
GIB = 1 << 30


class Identity(BaseModel):
    """Must be equal for two measurements to be compared.

    ``cpu_cores`` are those this process may use, ``cpu_quota`` the cgroup's limit in cores if there is one. ``blas``
    also says where its number of threads is not the recipe's. ``trtkit_source`` is a hash of the code that draws
    prompts and of what runs while a trial is measured, uncommitted changes included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hardware: str
    cpu_model: str
    cpu_cores: int
    cpu_quota: float | None
    memory_gib: int
    os: str
    blas: str
    software: dict[str, str | None]
    trtkit_source: str


class Context(BaseModel):
    """Recorded, not compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: str
    hostname_sha256: str
    git_commit: str | None
    first_seen: str


class Environment(BaseModel):
    """A fingerprint; ``env_id`` is the hash of ``identity`` alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    env_id: str
    identity: Identity
    context: Context

    @property
    def hardware(self) -> str:
        """One line for people: ``AMD EPYC, 2 cores, 8 GiB``."""
        identity = self.identity
        limit = "" if identity.cpu_quota is None else f" limited to {identity.cpu_quota:g}"
        return f"{identity.cpu_model}, {identity.cpu_cores} cores{limit}, {identity.memory_gib} GiB"


def fingerprint() -> Environment:
    """The machine and the software of this process. A CPU is the only hardware it knows how to describe."""
    identity = Identity(
        hardware="CPU",
        cpu_model=_cpu_model(Path("/proc/cpuinfo")),
        cpu_cores=len(os.sched_getaffinity(0)),
        cpu_quota=_cpu_quota(Path("/sys/fs/cgroup/cpu.max")),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB),
        os=f"{platform.system()} {platform.machine()}",
        blas=_blas(),
        software=versions() | {"grpcio": metadata.version("grpcio")},
        trtkit_source=source_digest([PACKAGE / part for part in MEASURED] + [triton_repo_dir()]),
    )
    context = Context(
        kernel=platform.release(),
        hostname_sha256=hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        git_commit=_git_commit(PACKAGE.parent),
        first_seen=utc_now(),
    )
    return Environment(env_id=digest(identity.model_dump(), 12), identity=identity, context=context)


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def source_digest(parts: Iterable[Path]) -> str:
    """Twelve digits over the names and bytes of the Python and C files that ``parts`` are or hold."""
    digester = hashlib.sha256()
    for part in parts:
        for file in [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.suffix in SOURCES):
            data = file.read_bytes()
            digester.update(f"{file.relative_to(part.parent).as_posix()}\0{len(data)}\0".encode() + data)
    return digester.hexdigest()[:12]


def _cpu_model(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _cpu_quota(cpu_max: Path) -> float | None:
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _blas() -> str:
    show: Any = np.show_config  # numpy's stubs do not know the mode
    blas = show(mode="dicts")["Build Dependencies"]["blas"]
    # a recipe's engine.threads means nothing to another BLAS
    return f"{blas['name']} {blas['version']}{'' if can_set_threads() else ', threads by its own environment'}"


def _git_commit(checkout: Path) -> str | None:
    """The commit of trtkit's own checkout; None for an installed package."""
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
