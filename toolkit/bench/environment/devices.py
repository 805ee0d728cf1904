"""GPUs as the driver lists them, whoever asked it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU; memory in bytes. None where the driver does not say (nvidia-smi's ``[N/A]``).

    ``sm`` is the compute capability times ten. Under MIG the sizes are those of the whole GPU.
    """

    index: int
    name: str
    uuid: str
    sm: int | None
    memory_total: int | None
    memory_free: int | None
    mig: bool = False


@dataclass(frozen=True, slots=True)
class Nvidia:
    """What the driver says; ``problem`` is why it says nothing. ``cuda`` is the newest CUDA that the driver runs."""

    devices: tuple[Device, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    problem: str | None = None


def visible(devices: Sequence[Device], wanted: str | None) -> tuple[Device, ...]:
    """What CUDA_VISIBLE_DEVICES leaves: all if it is not set, else up to the first entry that names no GPU."""
    if wanted is None:
        return tuple(devices)
    left: list[Device] = []
    for entry in wanted.split(","):
        found = [device for device in devices if _names(entry.strip(), device)]
        if len(found) != 1 or found[0] in left:
            break
        left += found
    return tuple(left)


def _names(entry: str, device: Device) -> bool:
    """A MIG slice does not say whose it is; with one GPU in MIG mode there is no doubt."""
    by_uuid = entry.startswith("GPU-") and device.uuid.startswith(entry)
    return entry == str(device.index) or by_uuid or (entry.startswith("MIG-") and device.mig)
