"""The GPUs that CUDA may use here: from NVML, else from nvidia-smi, which says less."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.bench.environment import nvidia_smi
from toolkit.bench.environment.devices import Device, Nvidia, visible
from toolkit.bench.environment.nvml import Absent, Nvml, open_nvml
from toolkit.bench.environment.types import Gpu, GpuState
from toolkit.errors import EngineError

MIB = 1 << 20
MIG_ON = "on"


@dataclass(frozen=True, slots=True)
class Gpus:
    """``indices`` are NVML's and nvidia-smi's; all tuples are in the same order."""

    indices: tuple[int, ...]
    identities: tuple[Gpu, ...]
    states: tuple[GpuState, ...]
    driver: str | None
    cuda: str | None

    @property
    def label(self) -> str:
        """``2 × NVIDIA B200``; a slice is called by its own name."""
        names = Counter(gpu.mig if gpu.mig not in (None, MIG_ON) else gpu.name for gpu in self.identities)
        return " + ".join(f"{count} × {name}" if count > 1 else f"{name}" for name, count in names.items())


def find_gpus(environ: Mapping[str, str]) -> Gpus:
    """The GPUs that CUDA_VISIBLE_DEVICES of ``environ`` leaves. ``EngineError`` when there is none to describe."""
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    with open_nvml() as nvml:
        if isinstance(nvml, Nvml):
            return _described(nvml.listed(), wanted, nvml)
    listed = nvidia_smi.query()
    if listed.problem is not None:
        raise EngineError(f"no GPU to describe: {nvml.problem}, and {listed.problem}", hint=_hint())
    return _described(listed, wanted, nvml)


def _hint() -> str:
    return "Type: pip install 'trtkit[telemetry]', or nvidia-smi to see what the driver says"


def _described(listed: Nvidia, wanted: str | None, nvml: Nvml | Absent) -> Gpus:
    devices = visible(listed.devices, wanted)
    if not devices:
        what = listed.problem or f"CUDA_VISIBLE_DEVICES={wanted} leaves no GPU"
        raise EngineError(f"no GPU to describe: {what}", hint=_hint() if listed.problem else None)
    session = nvml if isinstance(nvml, Nvml) else None
    return Gpus(
        indices=tuple(device.index for device in devices),
        identities=tuple(_identity(device, wanted, session) for device in devices),
        states=tuple(_state(device, session) for device in devices),
        driver=listed.driver,
        cuda=listed.cuda,
    )


def _identity(device: Device, wanted: str | None, nvml: Nvml | None) -> Gpu:
    mig = _slices(nvml.slices(device.index) if nvml else (), wanted) if device.mig else None
    memory = None if device.memory_total is None else device.memory_total // MIB
    return Gpu(name=device.name, memory_mib=memory, mig=mig)


def _slices(slices: Sequence[tuple[str, str]], wanted: str | None) -> str:
    """The names of those slices that ``wanted`` names by UUID, of all if it names none."""
    uuids = {entry.strip() for entry in (wanted or "").split(",")}
    chosen = [name for name, uuid in slices if uuid in uuids] or [name for name, _ in slices]
    return " + ".join(chosen) or MIG_ON


def _state(device: Device, nvml: Nvml | None) -> GpuState:
    uuid = hashlib.sha256(device.uuid.encode()).hexdigest()[:12]
    if nvml is None:
        return GpuState(uuid_sha256=uuid)
    handle = nvml.handle(device.index)
    sm, memory = nvml.constant("NVML_CLOCK_SM"), nvml.constant("NVML_CLOCK_MEM")
    limit_mw = nvml.ask("DeviceGetEnforcedPowerLimit", handle)
    ecc = nvml.ask("DeviceGetEccMode", handle)  # (current, pending)
    return GpuState(
        uuid_sha256=uuid,
        power_limit_w=None if limit_mw is None else limit_mw / 1e3,
        max_sm_mhz=nvml.ask("DeviceGetMaxClockInfo", handle, sm),
        max_memory_mhz=nvml.ask("DeviceGetMaxClockInfo", handle, memory),
        applied_sm_mhz=nvml.ask("DeviceGetApplicationsClock", handle, sm),
        applied_memory_mhz=nvml.ask("DeviceGetApplicationsClock", handle, memory),
        persistence=_flag(nvml.ask("DeviceGetPersistenceMode", handle)),
        ecc=_flag(ecc[0] if ecc else None),
    )


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)
