from __future__ import annotations

import json
import math

import pytest

from toolkit.bench.stats.samples import Samples, cell_of, label, sort_key
from toolkit.errors import RecordError

PINNED = Samples.of(
    "main",
    [
        ({"isl": 8, "concurrency": 2}, {"tok_s": 10.0, "ttft": 1.0}),
        ({"concurrency": 2, "isl": 8}, {"tok_s": 11.0}),
        ({"isl": 8, "concurrency": 16}, {"tok_s": 30.0}),
    ],
    {"gpu": "B200", "software": {"torch": "2.9"}},
    {"kernel": "6.8"},
)


def test_trials_of_equal_conditions_are_repeats() -> None:
    assert PINNED.cells == {
        (("concurrency", 2), ("isl", 8)): {"tok_s": (10.0, 11.0), "ttft": (1.0,)},
        (("concurrency", 16), ("isl", 8)): {"tok_s": (30.0,)},
    }


def test_a_pinned_baseline_is_read_as_it_was_written() -> None:
    assert Samples.from_dict(json.loads(json.dumps(PINNED.to_dict(), allow_nan=False))) == PINNED


def test_a_value_that_is_no_number_survives_the_file_as_one() -> None:
    data = json.loads(json.dumps(Samples.of("x", [({}, {"m": math.nan})]).to_dict(), allow_nan=False))
    assert data["cells"] == [{"conditions": {}, "metrics": {"m": [None]}}]
    assert math.isnan(Samples.from_dict(data).cells[()]["m"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "base.json: not a pinned baseline: schema_version: Input should be 1"),
        ({"extra": 1}, "base.json: not a pinned baseline: extra: Extra inputs are not permitted"),
        ({"cells": PINNED.to_dict()["cells"][:1] * 2}, "base.json: the cell concurrency=2 isl=8 stands twice"),
    ],
)
def test_what_is_not_a_baseline_is_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        Samples.from_dict(PINNED.to_dict() | change, "base.json")
    assert str(caught.value) == message


def test_labels_and_order() -> None:
    cell = cell_of({"isl": 8, "concurrency": 2, "mode": None})
    assert label(cell, {"isl"}) == "concurrency=2 mode=None"
    assert label(()) == "the only cell"
    cells = [cell_of({"c": value}) for value in ("b", 16, None, 2, "a")]
    assert [dict(one)["c"] for one in sorted(cells, key=sort_key)] == [2, 16, None, "a", "b"]
