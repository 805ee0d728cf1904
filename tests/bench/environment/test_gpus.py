from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from tests.bench.nvml_stand_in import StandIn, h100
from tests.preflight.made_up import fake_nvidia_smi
from toolkit.bench.environment.gpus import Gpus, find_gpus
from toolkit.bench.environment.types import Gpu, GpuState
from toolkit.errors import EngineError

NAME = "NVIDIA H100 80GB HBM3"
UUID = "GPU-11111111-2222-3333-4444-555555555555"
HASH = hashlib.sha256(UUID.encode()).hexdigest()[:12]
STATE = GpuState(
    uuid_sha256=HASH,
    power_limit_w=700.0,
    max_sm_mhz=1980,
    max_memory_mhz=2619,
    applied_sm_mhz=1980,
    applied_memory_mhz=2619,
    persistence=True,
    ecc=True,
)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    module = StandIn()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No NVML, and an empty folder that is all of PATH."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_one_gpu(nvml: StandIn) -> None:
    found = find_gpus({})
    assert found == Gpus((0,), (Gpu(name=NAME, memory_mib=81559, mig=None),), (STATE,), "580.159.04", "13.0")
    assert found.label == NAME


@pytest.mark.parametrize(
    ("wanted", "indices", "label"),
    [(None, (0, 1, 2), f"2 × {NAME} + NVIDIA L4"), ("2", (2,), "NVIDIA L4"), ("1,0", (1, 0), f"2 × {NAME}")],
)
def test_visible_gpus(nvml: StandIn, wanted: str | None, indices: tuple[int, ...], label: str) -> None:
    nvml.gpus = [h100(UUID="GPU-a"), h100(UUID="GPU-b"), h100(UUID="GPU-c", Name="NVIDIA L4")]
    found = find_gpus({} if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted})
    assert (found.indices, found.label) == (indices, label)


def test_settings_that_the_driver_does_not_say(nvml: StandIn) -> None:
    nvml.gpus = [{"Name": "NVIDIA GB10", "UUID": UUID}]
    found = find_gpus({})
    assert found.identities == (Gpu(name="NVIDIA GB10", memory_mib=None, mig=None),)
    assert found.states == (GpuState(uuid_sha256=HASH),)


@pytest.mark.parametrize(
    ("wanted", "mig"),
    [("MIG-2", f"{NAME} MIG 2g.20gb"), (None, f"{NAME} MIG 1g.10gb + {NAME} MIG 2g.20gb")],
)
def test_slices(nvml: StandIn, wanted: str | None, mig: str) -> None:
    parts = [{"Name": f"{NAME} MIG {n}g.{n}0gb", "UUID": f"MIG-{n}"} for n in (1, 2)]
    nvml.gpus = [h100(MigMode=[1, 1], slices=parts)]
    found = find_gpus({} if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted})
    assert (found.identities[0].mig, found.label) == (mig, mig)


def test_slices_that_cannot_be_seen(nvml: StandIn) -> None:
    nvml.gpus = [h100(MigMode=[1, 1], slices=[])]
    found = find_gpus({})
    assert (found.identities[0].mig, found.label) == ("on", NAME)


def test_without_the_package_nvidia_smi_says_it(path: Path) -> None:
    fake_nvidia_smi(path)
    found = find_gpus({})
    identity = Gpu(name=NAME, memory_mib=81559, mig=None)
    assert found == Gpus((0,), (identity,), (GpuState(uuid_sha256=HASH),), "580.159.04", "13.0")


def test_no_gpu_at_all(path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        find_gpus({})
    assert caught.value.what == "no GPU to describe: nvidia-ml-py is not installed, and no nvidia-smi on PATH"


def test_no_gpu_left(nvml: StandIn) -> None:
    with pytest.raises(EngineError, match="CUDA_VISIBLE_DEVICES= leaves no GPU"):
        find_gpus({"CUDA_VISIBLE_DEVICES": ""})
    nvml.gpus = []
    with pytest.raises(EngineError, match="NVML lists no GPU"):
        find_gpus({})
