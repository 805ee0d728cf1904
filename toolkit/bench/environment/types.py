"""``Environment``: what a record says of the machine and the software that it was measured on."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from toolkit.bench.canonical import digest

CPU = "CPU"
ID_DIGITS = 12
_SINCE_2 = {"gpus", "driver", "container", "variables"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gpu(_Part):
    """One GPU that CUDA may use. ``mig``: the names of its slices, ``on`` if they are not known, None without MIG."""

    name: str
    memory_mib: int | None
    mig: str | None


class Identity(_Part):
    """Must be equal for two measurements to be compared.

    ``hardware`` is ``CPU`` or what the GPUs are called. On a CPU: ``cpu_cores`` are those this process may use,
    ``cpu_quota`` the cgroup's limit in cores if there is one; ``blas`` also says where its number of threads is not the
    recipe's. On GPUs these are None, and the host is in ``Context``. ``container`` is the image's digest where it is
    known, ``variables`` are settings of TensorRT-LLM and NCCL (``toolkit.bench.environment.variables``).
    ``trtkit_source`` is a hash of the code that draws prompts and of what runs while a trial is measured, uncommitted
    changes included.
    """

    hardware: str
    cpu_model: str | None = None
    cpu_cores: int | None = None
    cpu_quota: float | None = None
    memory_gib: int | None = None
    os: str
    blas: str | None = None
    software: dict[str, str | None]
    trtkit_source: str
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    container: str | None = None
    variables: dict[str, str] = {}


class GpuState(_Part):
    """What may differ between GPUs of one name. ``uuid_sha256`` tells one card from another without naming it.

    Watts, MHz; None where the driver does not say. ``applied_*`` are the clocks that an administrator set.
    """

    uuid_sha256: str
    power_limit_w: float | None = None
    max_sm_mhz: int | None = None
    max_memory_mhz: int | None = None
    applied_sm_mhz: int | None = None
    applied_memory_mhz: int | None = None
    persistence: bool | None = None
    ecc: bool | None = None


class Host(_Part):
    """``governor`` is the frequency scaling of its first core; None where the kernel has none."""

    cpu_model: str
    cpu_cores: int
    cpu_quota: float | None
    memory_gib: int
    numa_nodes: int | None
    governor: str | None
    load_average_1m: float


class Context(_Part):
    """Recorded, not compared. ``cuda_driver`` is the newest CUDA that the driver runs."""

    kernel: str
    hostname_sha256: str
    git_commit: str | None
    first_seen: str
    host: Host | None = None
    gpus: tuple[GpuState, ...] = ()
    cuda_driver: str | None = None


class Environment(_Part):
    """A fingerprint; ``env_id`` is the hash of ``identity`` alone, which is checked.

    Schema 1 knew CPUs only; its identity had none of the keys about GPUs.
    """

    schema_version: Literal[1, 2] = 2
    env_id: str
    identity: Identity
    context: Context

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.env_id != identity_digest(self.identity, self.schema_version):
            raise ValueError("env_id is not that of its identity")
        return self

    @property
    def hardware(self) -> str:
        """One line for people: ``AMD EPYC, 2 cores, 8 GiB``."""
        identity = self.identity
        if identity.gpus:
            software = identity.software.get("tensorrt-llm")
            release = f", TensorRT-LLM {software}" if software else ""
            return f"{identity.hardware}, driver {identity.driver}{release}"
        limit = "" if identity.cpu_quota is None else f" limited to {identity.cpu_quota:g}"
        return f"{identity.cpu_model}, {identity.cpu_cores} cores{limit}, {identity.memory_gib} GiB"


def identity_digest(identity: Identity, schema_version: int = 2) -> str:
    """Twelve hexadecimal digits over the keys that ``schema_version`` has."""
    return digest(identity.model_dump(mode="json", exclude=_SINCE_2 if schema_version == 1 else None), ID_DIGITS)
