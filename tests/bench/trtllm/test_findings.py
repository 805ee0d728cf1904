from __future__ import annotations

from decimal import Decimal

import pytest

from toolkit.bench.trtllm.fields import BREAKDOWNS, DATASET_COLUMNS, JSON, LABELS
from toolkit.bench.trtllm.findings import GROUPS, TYPES, Findings

LATENCY = "performance.total_latency_ms"


def test_every_place_of_the_tables_is_a_field() -> None:
    singles = {path for path, _ in LABELS.values()} | {path for keys in JSON.values() for path in keys.values()}
    assert singles <= set(TYPES) | GROUPS
    assert {path for path, _ in BREAKDOWNS.values()} | set(DATASET_COLUMNS) <= GROUPS


def test_every_field_has_a_place() -> None:
    json_paths = {path for keys in JSON.values() for path in keys.values()}
    assert (set(TYPES) | GROUPS) - {path for path in TYPES if path.count(".") == 2} == json_paths


@pytest.mark.parametrize(
    ("value", "expected", "rounding"),
    [
        ("11076.7700", 11076.77, 0.00005),
        ("1.0526E+15", 1.0526e15, 0.5e11),
        ("4.5", 4.5, 0.05),
        ("7", 7.0, 0.0),
        (7, 7.0, 0.0),
        (Decimal("0.21"), 0.21, 0.005),
        (Decimal("86.53730123456789"), 86.53730123456789, 0.5e-14),
    ],
)
def test_rounding(value: object, expected: float, rounding: float) -> None:
    found = Findings()
    found.add(LATENCY, value)
    assert found.values == {LATENCY: expected}
    assert found.rounding[LATENCY] == pytest.approx(rounding, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ("1e999999999", "is too large"),
        ("1e99999999999999999999", "is no number"),
        ("-1", "is negative"),
        ("nan", "is NaN"),
        ("-inf", "is infinite"),
        ("1,5", "is no number"),
        (b"1", "is no number"),
    ],
)
def test_no_measured_number(value: object, note: str) -> None:
    found = Findings()
    found.add(LATENCY, value)
    assert (found.values, found.notes) == ({}, [f"{LATENCY} {note}"])


def test_a_tiny_number() -> None:
    found = Findings()
    found.add(LATENCY, "1e-999999999")
    assert (found.values, found.rounding) == ({LATENCY: 0.0}, {LATENCY: 0.0})


@pytest.mark.parametrize("value", [None, "None", "N/A", ""])
def test_printed_and_not_there(value: object) -> None:
    found = Findings()
    found.add(LATENCY, value)
    assert (found.values, found.notes, found.seen) == ({}, [], {LATENCY})


def test_the_first_one_stays() -> None:
    found = Findings()
    found.add(LATENCY, "1.0")
    found.add(LATENCY, "2.0")
    assert found.values == {LATENCY: 1.0}
