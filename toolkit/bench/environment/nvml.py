"""NVML through nvidia-ml-py (module ``pynvml``, extra ``telemetry``), where driver and package are there.

Names and units are those of NVML's API reference; which questions a GPU answers depends on its kind and on its driver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolkit.bench.environment.devices import Device, Nvidia

NOT_INSTALLED = "nvidia-ml-py is not installed"


@dataclass(frozen=True, slots=True)
class Absent:
    """Why there is no NVML here."""

    problem: str


@dataclass(frozen=True, slots=True)
class Nvml:
    """An open session. ``module`` is pynvml."""

    module: Any

    def ask(self, question: str, *arguments: Any) -> Any:
        """The answer of the function ``nvml<question>``, text as ``str``; None for what is not answered here.

        An old package lacks the function, an old driver too, and a GPU or a container may not support it.
        """
        function = getattr(self.module, f"nvml{question}", None)
        if function is None:
            return None
        try:
            answer = function(*arguments)
        except self.module.NVMLError:
            return None
        return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer

    def constant(self, name: str) -> Any:
        return getattr(self.module, name)

    def handle(self, index: int) -> Any:
        """What further questions about GPU ``index`` take; None if it is lost."""
        return self.ask("DeviceGetHandleByIndex", index)

    def listed(self) -> Nvidia:
        """Every GPU of the driver, in the order of nvidia-smi."""
        devices = tuple(self._device(index) for index in range(self.ask("DeviceGetCount") or 0))
        cuda = self.ask("SystemGetCudaDriverVersion_v2")  # 13000 for 13.0, as cuDriverGetVersion
        return Nvidia(
            devices,
            self.ask("SystemGetDriverVersion"),
            f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            None if devices else "NVML lists no GPU",
        )

    def slices(self, index: int) -> Sequence[tuple[str, str]]:
        """Name and UUID of each MIG slice of a GPU that can be seen."""
        parent = self.handle(index)
        found = []
        for slot in range(self.ask("DeviceGetMaxMigDeviceCount", parent) or 0):
            part = self.ask("DeviceGetMigDeviceHandleByIndex", parent, slot)
            if part is not None:
                found.append((self.ask("DeviceGetName", part) or "", self.ask("DeviceGetUUID", part) or ""))
        return found

    def _device(self, index: int) -> Device:
        handle = self.handle(index)
        memory = self.ask("DeviceGetMemoryInfo", handle)
        capability = self.ask("DeviceGetCudaComputeCapability", handle)
        mode = self.ask("DeviceGetMigMode", handle)  # (current, pending)
        return Device(
            index=index,
            name=self.ask("DeviceGetName", handle) or "unknown",
            uuid=self.ask("DeviceGetUUID", handle) or "",
            sm=capability[0] * 10 + capability[1] if capability else None,
            memory_total=memory.total if memory else None,
            memory_free=memory.free if memory else None,
            mig=bool(mode and mode[0]),
        )


@contextmanager
def open_nvml() -> Iterator[Nvml | Absent]:
    """A session for the length of the block, or why there is none."""
    try:
        import pynvml
    except ImportError:
        yield Absent(NOT_INSTALLED)
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Absent(f"NVML: {error}")
        return
    try:
        yield Nvml(pynvml)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
