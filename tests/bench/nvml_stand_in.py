"""A stand-in for nvidia-ml-py's ``pynvml``: its names, units and errors, with GPUs made of dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

GIB = 1 << 30
SM, MEMORY = 1, 2
"""NVML_CLOCK_SM and NVML_CLOCK_MEM."""


class NVMLError(Exception):
    """Base class of every error, as in pynvml."""


def h100(**changes: Any) -> dict[str, Any]:
    """Answers of one GPU by question; a question that is not there is ``Not Supported``. The UUID is made up."""
    answers: dict[str, Any] = {
        "Name": "NVIDIA H100 80GB HBM3",
        "UUID": "GPU-11111111-2222-3333-4444-555555555555",
        "MemoryInfo": SimpleNamespace(total=81559 << 20, free=81079 << 20, used=480 << 20),
        "CudaComputeCapability": (9, 0),
        "MigMode": [0, 0],
        "EnforcedPowerLimit": 700_000,
        "EccMode": [1, 1],
        "PersistenceMode": 1,
        "MaxClockInfo": {SM: 1980, MEMORY: 2619},
        "ApplicationsClock": {SM: 1980, MEMORY: 2619},
        "ClockInfo": {SM: 1755, MEMORY: 2619},
        "PowerUsage": 350_000,
        "TotalEnergyConsumption": 1_000_000,
        "Temperature": {0: 45},
        "UtilizationRates": SimpleNamespace(gpu=90, memory=40),
        "CurrentClocksEventReasons": 0,
        "ComputeRunningProcesses": [],
    }
    return {**answers, **changes}


@dataclass
class StandIn:
    """Put it into ``sys.modules["pynvml"]``. ``failure`` is what ``nvmlInit`` raises."""

    gpus: list[dict[str, Any]] = field(default_factory=lambda: [h100()])
    driver: str | bytes = "580.159.04"
    cuda: int = 13000
    failure: str | None = None
    open: int = 0

    NVMLError = NVMLError
    NVML_CLOCK_SM = SM
    NVML_CLOCK_MEM = MEMORY
    NVML_TEMPERATURE_GPU = 0

    def nvmlInit(self) -> None:
        if self.failure:
            raise NVMLError(self.failure)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str | bytes:
        return self.driver

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.gpus[index]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: dict[str, Any]) -> int:
        return len(gpu["slices"])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: dict[str, Any], slot: int) -> dict[str, Any]:
        found: dict[str, Any] | None = gpu["slices"][slot]
        if found is None:
            raise NVMLError("Not Found")
        return found

    def __getattr__(self, name: str) -> Any:
        """Every other question is looked up in the GPU's answers; a selector picks from a dictionary."""
        question = name.removeprefix("nvmlDeviceGet")
        if question == name or question not in {*h100(), "CurrentClocksThrottleReasons"}:
            raise AttributeError(name)

        def answer(gpu: dict[str, Any], *selector: int) -> Any:
            if question not in gpu:
                raise NVMLError("Not Supported")
            return gpu[question][selector[0]] if selector else gpu[question]

        return answer
