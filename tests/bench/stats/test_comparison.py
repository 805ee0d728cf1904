from __future__ import annotations

import json

import pytest

from tests.bench.stats.made import PLAIN, sweep
from toolkit.bench.stats.compare import compare


def test_as_plain_data() -> None:
    found = compare(sweep("a", [[100.0, 101.0, 99.0]] * 2), sweep("b", [[100.0, 101.0, 99.0], [100.0]]), PLAIN)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["verdicts"]["not comparable"] == 1
    assert data["metrics"][0]["prior_df"] == "inf"
    assert data["metrics"][0]["cells"][1] | {"reason": ""} == {
        "cell": {"concurrency": 2, "isl": 8},
        "baseline": {"repeats": 3, "median": 100.0},
        "candidate": {"repeats": 1, "median": 100.0},
        "verdict": "not comparable",
        "reason": "",
        "ratio": pytest.approx(1.0, abs=1e-4),
        "interval": None,
        "p": None,
        "q": None,
        "noise": None,
        "df": None,
        "clipped": 0,
        "repeats_needed": None,
    }
