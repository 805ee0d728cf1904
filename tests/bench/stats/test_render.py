from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.stats.made import sweep
from toolkit.bench.stats.compare import compare
from toolkit.bench.stats.comparison import Comparison
from toolkit.bench.stats.options import THROUGHPUT, Options
from toolkit.bench.stats.render import to_markdown, to_text
from toolkit.bench.stats.samples import Samples, cell_of

GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture
def found() -> Comparison:
    base = [[100.0, 100.4, 99.7], [200.0, 201.0, 199.0], [400.0, 390.0, 409.0], [800.0], [7.0, 7.0]]
    other = [[95.0, 95.4, 95.1], [200.1, 201.0, 199.5], [380.0, 402.0, 405.0], [801.0, 802.0]]
    return compare(
        sweep("main", base, identity={"trtllm": "1.1"}, context={"kernel": "a|b"}),
        sweep("branch", other, identity={"trtllm": "1.2"}, context={"kernel": "c"}),
        Options(declared=frozenset({"trtllm"})),
    )


@pytest.mark.parametrize(("render", "golden"), [(to_text, "comparison.txt"), (to_markdown, "comparison.md")])
def test_whole_text(found: Comparison, render: Callable[[Comparison], str], golden: str) -> None:
    assert render(found) == (GOLDENS / golden).read_text(encoding="utf-8")


def test_what_forbids_a_verdict_comes_first() -> None:
    a = sweep("a", [[1.0, 2.0]], identity={"z": 1}, context={"b": 1})
    b = Samples("b", {**a.cells, cell_of({"x": 1}): {}}, {"z": 2}, {"b": 2})
    lines = to_text(compare(a, b)).splitlines()
    assert lines[0] == "a → b: 0 regressed, 0 improved, 0 within noise, 0 inconclusive, 1 not comparable"
    assert lines[-3:] == ["identity differs: z: 1 against 2", "context differs: b: 1 against 2", "only in b: x=1"]


def test_the_level_of_the_interval_is_told() -> None:
    a = sweep("a", [[1.0, 2.0]])
    assert "99 % interval" in to_text(compare(a, a, replace(Options(), alpha=0.01)))
    assert f"{THROUGHPUT.name}, higher is better, 2 % matters: +0.00 % over 1 cell\n" in to_text(compare(a, a))


def test_nothing_to_remark_has_no_section() -> None:
    a = sweep("a", [[1.0, 2.0]])
    assert "Not alike" not in to_markdown(compare(a, a))
