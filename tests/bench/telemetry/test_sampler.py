from __future__ import annotations

import sys
import threading

import pytest

from tests.bench.nvml_stand_in import StandIn, h100
from toolkit.bench.environment.nvml import NOT_INSTALLED
from toolkit.bench.telemetry.rows import GpuRow, HostRow, Row
from toolkit.bench.telemetry.sampler import Recording, sampling, thread

FAR_S = 3600.0
"""No reading falls due by itself."""


class Counted:
    """A reading is a row with its number; ``reached`` waits for one."""

    def __init__(self) -> None:
        self.number = 0
        self.changed = threading.Condition()

    def __call__(self) -> list[Row]:
        with self.changed:
            self.number += 1
            self.changed.notify_all()
            return [HostRow(self.number, 0)]

    def reached(self, number: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.number >= number, 30)


def test_one_reading_before_and_one_after() -> None:
    read, recording = Counted(), Recording(FAR_S)
    with thread(read, recording, 30):
        assert read.number == 1
    assert recording == Recording(FAR_S, (HostRow(1, 0), HostRow(2, 0)))


def test_readings_in_between() -> None:
    read, recording = Counted(), Recording(0.001)
    with thread(read, recording, 30):
        assert read.reached(5)
    assert [row.time_ns for row in recording.rows] == list(range(1, read.number + 1))
    assert read.number >= 6


def test_a_reading_that_fails_ends_the_readings_only() -> None:
    numbers = iter((1, 2))

    def read() -> list[Row]:
        return [HostRow(next(numbers), 0)]

    recording = Recording(0.001)
    with thread(read, recording, 30):
        pass
    with thread(read, recording, 30):
        pass
    assert recording.rows == ()
    assert recording.problem == "StopIteration: "


def test_a_driver_that_hangs_is_left_behind() -> None:
    answer = threading.Event()

    def read() -> list[Row]:
        answer.wait(30)
        return [HostRow(1, 0)]

    recording = Recording(FAR_S)
    with thread(read, recording, 0.01):
        pass
    assert recording == Recording(FAR_S, (), "no answer within 0.01 s")
    answer.set()


def test_an_error_of_the_block_goes_on() -> None:
    recording = Recording(FAR_S)
    with pytest.raises(KeyError), thread(Counted(), recording, 30):
        raise KeyError
    assert len(recording.rows) == 2


def test_host_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    module = StandIn([h100(), h100(PowerUsage=1000)])
    monkeypatch.setitem(sys.modules, "pynvml", module)
    with sampling((1,), period_s=FAR_S) as recording:
        assert module.open == 1
    assert module.open == 0
    assert recording.problem is None
    assert [type(row) for row in recording.rows] == [HostRow, GpuRow] * 2
    assert {(row.index, row.power_mw) for row in recording.rows if isinstance(row, GpuRow)} == {(1, 1000)}


def test_without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with sampling((0,), period_s=FAR_S) as recording:
        pass
    assert recording.problem == NOT_INSTALLED
    assert [type(row) for row in recording.rows] == [HostRow] * 2
    with sampling(period_s=FAR_S, own_server=False) as recording:
        pass
    assert recording.problem is None
    assert {row.own_ms for row in recording.rows if isinstance(row, HostRow)} == {None}
