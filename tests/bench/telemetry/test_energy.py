from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bench.telemetry.energy import Energy, clip, energy, trapezoid
from toolkit.bench.telemetry.rows import GpuRow, of_gpu, unpack_rows

S = 1_000_000_000


def rows(*values: tuple[float, int | None, int | None]) -> list[GpuRow]:
    """Seconds, mW, mJ."""
    return [GpuRow(round(at * S), 0, power_mw=power, energy_mj=counter) for at, power, counter in values]


def test_interpolation_at_both_ends() -> None:
    # 100 W at 0 s, 300 W at 2 s, 100 W at 4 s; from 1 s (200 W) to 3 s (200 W): 2 × (200 + 300) / 2
    found = energy(rows((0, 100_000, 0), (2, 300_000, 390_000), (4, 100_000, 800_000)), S, 3 * S)
    # counter: 195 J at 1 s, 595 J at 3 s
    assert found == Energy(joules=400.0, counter_j=400.0, trapezoid_j=500.0, problem=None)


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([], Energy(joules=None, counter_j=None, trapezoid_j=None, problem="no readings")),
        (
            rows((0, 100_000, None), (2, 100_000, None)),
            Energy(joules=100, counter_j=None, trapezoid_j=100, problem=None),
        ),
        (rows((0, None, 5_000), (2, None, 7_000)), Energy(joules=1, counter_j=1, trapezoid_j=None, problem=None)),
        # a driver that was loaded again
        (
            rows((0, 100_000, 9_000), (2, 100_000, 7_000)),
            Energy(joules=100, counter_j=None, trapezoid_j=100, problem=None),
        ),
        (
            rows((0, None, 9_000), (2, None, 7_000)),
            Energy(joules=None, counter_j=None, trapezoid_j=None, problem="the energy counter went back"),
        ),
        (
            rows((0.6, 1, 1), (2, 1, 2)),
            Energy(joules=None, counter_j=None, trapezoid_j=None, problem="the readings do not cover the whole trial"),
        ),
        (
            rows((0, 1, 1), (3.2, 1, 2)),
            Energy(joules=None, counter_j=None, trapezoid_j=None, problem="no reading for 3.2 s"),
        ),
    ],
)
def test_what_is_missing(readings: list[GpuRow], expected: Energy) -> None:
    assert energy(readings, round(0.5 * S), round(1.5 * S)) == expected


def test_gaps_outside_of_the_window_do_not_count() -> None:
    readings = rows((0, 100_000, None), (60, 100_000, None), (62, 100_000, None), (200, 1, None))
    assert energy(readings, 60 * S, 62 * S).joules == 200


def test_a_window_on_the_readings_themselves() -> None:
    assert clip([(0, 1.0), (S, 2.0), (2 * S, 4.0)], 0, 2 * S) == [(0, 1.0), (S, 2.0), (2 * S, 4.0)]


@given(
    st.lists(st.integers(1, 2 * S), min_size=2, max_size=20),
    st.floats(0, 1000),
    st.floats(-50, 50),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_straight_line_is_integrated_exactly(
    gaps: list[int], value: float, slope: float, left: float, right: float
) -> None:
    times = [sum(gaps[:count]) for count in range(len(gaps) + 1)]
    start, end = sorted((round(left * times[-1]), round(right * times[-1])))
    clipped = clip([(time, value + slope * time / S) for time in times], start, end)
    assert not isinstance(clipped, str)
    middle = value + slope * (start + end) / 2 / S
    assert trapezoid(clipped) == pytest.approx(middle * (end - start) / S, rel=1e-9, abs=1e-4)


def test_the_counter_and_the_power_of_a_real_gpu(recorded: Path) -> None:
    """Two ways to the same energy, while the load is even, and at its start, where the power comes late."""
    readings = of_gpu(unpack_rows(recorded.read_bytes(), str(recorded)), 0)
    began = readings[0].time_ns + 2 * S
    even = energy(readings, began + 3 * S, began + 12 * S)
    assert even.counter_j == pytest.approx(6281, abs=1)
    assert even.trapezoid_j == pytest.approx(even.counter_j, rel=0.003)
    whole = energy(readings, began, began + 15 * S)
    assert whole.counter_j is not None
    assert whole.trapezoid_j is not None
    assert 0.02 < 1 - whole.trapezoid_j / whole.counter_j < 0.03
