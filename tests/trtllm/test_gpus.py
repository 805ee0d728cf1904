from __future__ import annotations

import pytest

from toolkit.errors import PlanError
from toolkit.trtllm import load_targets

MIB = 2**20


@pytest.mark.parametrize(
    ("name", "sm", "memory_bytes", "kind", "driver_min"),
    [
        ("b200", 100, 178 * 2**30, "datacenter", "570.133.20"),
        ("gb200", 100, 189471 * MIB, "datacenter", "570.124.06"),
        ("b300", 103, 275040 * MIB, "datacenter", None),
        ("gb300", 103, 284208 * MIB, "datacenter", None),
        ("h100", 90, 81559 * MIB, "datacenter", None),
        ("h200", 90, 143771 * MIB, "datacenter", None),
        ("rtx-5090", 120, 32607 * MIB, "consumer", "570"),
        ("rtx-pro-6000", 120, 97887 * MIB, "workstation", None),
        ("dgx-spark", 121, 128538451968, "unified", None),
    ],
)
def test_a_gpu(name: str, sm: int, memory_bytes: int, kind: str, driver_min: str | None) -> None:
    gpu = load_targets().gpu(name)
    assert (gpu.name, gpu.sm, gpu.memory_bytes, gpu.kind, gpu.driver_min) == (name, sm, memory_bytes, kind, driver_min)


def test_every_size_has_its_source_and_every_known_driver() -> None:
    for gpu in load_targets().gpus.values():
        keys = {"sm", "memory", "support", *(["driver"] if gpu.driver_min else [])}
        assert set(gpu.facts) == keys
        assert gpu.fact("memory").id == f"{gpu.name}-memory"


@pytest.mark.parametrize("name", ["b200", "gb200", "b300", "gb300", "h100", "h200", "rtx-5090", "rtx-pro-6000"])
def test_the_memory_is_what_its_fact_says(name: str) -> None:
    gpu = load_targets().gpu(name)
    number, unit, *_ = gpu.fact("memory").statement.rstrip(".").replace(",", "").split()
    assert gpu.memory_bytes == int(number) * {"MiB": MIB, "GiB": 2**30}[unit.rstrip(".")]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rtx5090", "Did you mean 'rtx-5090'?"),
        ("B200", "Did you mean 'b200'?"),
        ("GB200", "Did you mean 'gb200'?"),
        ("tpu", "Known: b200, gb200, b300, gb300, h100, h200, rtx-5090, rtx-pro-6000, dgx-spark"),
    ],
)
def test_an_unknown_gpu_gets_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_targets().gpu(name)
    assert str(caught.value) == f"target.gpu: unknown GPU {name!r}. {hint}"
