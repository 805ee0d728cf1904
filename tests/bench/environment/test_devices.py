from __future__ import annotations

import pytest

from tests.preflight.made_up import device
from toolkit.bench.environment.devices import visible


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("0,9,1", [0]),  # CUDA stops at the first that is none
        ("0,0,1", [0]),
        ("GPU-1", [1]),
        ("GPU-", []),  # of three
        ("MIG-0123", [2]),
    ],
)
def test_visible_devices(wanted: str | None, indices: list[int]) -> None:
    devices = [device(0), device(1), device(2, mig=True)]
    assert [found.index for found in visible(devices, wanted)] == indices
