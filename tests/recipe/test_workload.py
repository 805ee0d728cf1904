from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from toolkit.recipe.workload import PRESETS, ArrivalSection, Preset, WorkloadSection


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "fixed"},
        {"kind": "uniform", "ratio": 0.8},
        {"kind": "normal", "stdev": 0},
        {"kind": "trace", "trace": Path("t.jsonl")},
    ],
)
def test_a_workload(fields: dict[str, Any]) -> None:
    defaults = {"kind": "fixed", "ratio": None, "stdev": None, "trace": None}
    assert WorkloadSection(**fields).model_dump() == defaults | fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "uniform"}, "kind uniform needs ratio"),
        ({"kind": "normal"}, "kind normal needs stdev"),
        ({"kind": "trace"}, "kind trace needs trace"),
        ({"ratio": 0.5}, "ratio is for kind uniform. Leave it out, or set kind"),
        ({"kind": "trace", "trace": "t", "stdev": 0.1}, "stdev is for kind normal. Leave it out, or set kind"),
        ({"kind": "uniform", "ratio": 0}, "greater than 0"),
        ({"kind": "uniform", "ratio": 1.5}, "less than or equal to 1"),
        ({"kind": "uniform", "ratio": float("nan")}, "less than or equal to 1"),
        ({"kind": "normal", "stdev": 0.5}, "less than or equal to 0.33"),
        ({"kind": "zipf"}, "'fixed', 'uniform', 'normal' or 'trace'"),
        ({"length": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_workload_that_is_none(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WorkloadSection(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [{}, {"kind": "poisson", "rate": (0.5, 2.0)}, {"kind": "constant", "rate": (8.0,)}, {"kind": "trace"}],
)
def test_an_arrival(fields: dict[str, Any]) -> None:
    assert ArrivalSection(**fields).model_dump() == {"kind": "closed", "rate": ()} | fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "poisson"}, "kind poisson needs rate"),
        ({"rate": [1.0]}, "rate is not for kind closed. Leave it out"),
        ({"kind": "trace", "rate": [1.0]}, "rate is not for kind trace. Leave it out"),
        ({"kind": "poisson", "rate": [2, 1, 2.0]}, "a rate stands twice. Ask for more trials with bench.repeats"),
        ({"kind": "poisson", "rate": [0]}, "greater than 0"),
        ({"kind": "poisson", "rate": [2e6]}, "less than or equal to 1000000"),
        ({"kind": "poisson", "rate": [float("inf")]}, "finite number"),
        ({"kind": "poisson", "rate": [float("nan")]}, "finite number"),
    ],
)
def test_an_arrival_that_is_none(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ArrivalSection(**fields)
    assert message in str(caught.value)


def test_nvidias_request_counts() -> None:
    """The table of TensorRT-LLM's perf-overview.md, "Preparing a Dataset"."""
    table = "1024 1024 3000; 8192 1024 1500; 1024 8192 1500; 32768 1024 1000; 1024 32768 1000"
    rows = [Preset(*map(int, row.split())) for row in table.split(";")]
    assert list(PRESETS.values()) == rows
    assert list(PRESETS) == [f"{row.isl // 1024}k/{row.osl // 1024}k" for row in rows]
