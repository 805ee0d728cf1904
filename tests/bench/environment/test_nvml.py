from __future__ import annotations

import sys

import pytest

from tests.bench import nvml_stand_in
from tests.bench.nvml_stand_in import StandIn, h100
from toolkit.bench.environment.devices import Device, Nvidia
from toolkit.bench.environment.nvml import NOT_INSTALLED, Absent, Nvml, open_nvml

MIB = 1 << 20
UUID = "GPU-11111111-2222-3333-4444-555555555555"
H100 = Device(0, "NVIDIA H100 80GB HBM3", UUID, 90, 81559 * MIB, 81079 * MIB)


def put(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)


def test_the_stand_in_has_only_names_of_the_real_package() -> None:
    pynvml = pytest.importorskip("pynvml")
    names = {f"nvmlDeviceGet{question}" for question in h100()}
    names |= {name for name in vars(StandIn) if name.startswith(("nvml", "NVML"))}
    assert {name for name in names if not hasattr(pynvml, name)} == set()
    assert (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM) == (nvml_stand_in.SM, nvml_stand_in.MEMORY)
    assert pynvml.NVML_TEMPERATURE_GPU == StandIn.NVML_TEMPERATURE_GPU


def test_a_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = StandIn()
    put(monkeypatch, module)
    with open_nvml() as nvml:
        assert isinstance(nvml, Nvml)
        assert nvml.listed() == Nvidia((H100,), "580.159.04", "13.0")
        assert module.open == 1
    assert module.open == 0


def test_old_packages_answer_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, StandIn([h100(Name=b"NVIDIA H100 80GB HBM3", UUID=UUID.encode())], driver=b"535.1", cuda=12020))
    with open_nvml() as nvml:
        assert isinstance(nvml, Nvml)
        assert nvml.listed() == Nvidia((H100,), "535.1", "12.2")


def test_what_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, StandIn([{"Name": "NVIDIA GB10"}], cuda=0))
    with open_nvml() as nvml:
        assert isinstance(nvml, Nvml)
        assert nvml.listed() == Nvidia((Device(0, "NVIDIA GB10", "", None, None, None),), "580.159.04", None)
        assert nvml.ask("DeviceGetWhatIsNotThere", nvml.handle(0)) is None


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, StandIn([]))
    with open_nvml() as nvml:
        assert isinstance(nvml, Nvml)
        assert nvml.listed().problem == "NVML lists no GPU"


def test_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    part = {"Name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "UUID": "MIG-1"}
    put(monkeypatch, StandIn([h100(MigMode=[1, 1], slices=[None, part])]))
    with open_nvml() as nvml:
        assert isinstance(nvml, Nvml)
        assert nvml.slices(0) == [("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "MIG-1")]
        assert nvml.listed().devices[0].mig


def test_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, None)
    with open_nvml() as nvml:
        assert nvml == Absent(NOT_INSTALLED)
    put(monkeypatch, StandIn(failure="NVML Shared Library Not Found"))
    with open_nvml() as nvml:
        assert nvml == Absent("NVML: NVML Shared Library Not Found")
