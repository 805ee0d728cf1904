from __future__ import annotations

import pytest

from toolkit.bench.markdown import INTRODUCTION, figure, to_markdown, to_text
from toolkit.bench.summary import LeftOut, Row, Run, Summary, Table

RUN = Run(
    name="made-up-test-data-00000000",
    planned=3,
    measured=2,
    started_at="2025-01-01T00:00:00.000Z",
    ended_at="2025-01-02T00:00:00.000Z",
    target="cpu, w4a16",
    bundle="0123456789ab",
    environment="ba9876543210",
    software={"python": "3.11.0", "numpy": "1.26.4"},
    git_commit="f" * 40,
    source="001122334455",
    commands=("trtkit bench run made-up.yaml",),
)
ROWS = (
    Row(RUN.name, 32, 8, 1, 16, 1, 123.456, 61.728, 9.876, 12.0, 5.25, 6.5),
    Row(RUN.name, 128, 1, 16, 16, 2, 1234.56, 0.5, 100.04, 2000.0, None, None),
)
TABLE = Table("CPU", "Made-up CPU for tests, 2 cores, 8 GiB", (RUN,), ROWS)
LEFT = LeftOut(RUN.name, "0123456789/r1-1", "failed", "the | server\nis gone")


def test_the_report_whole() -> None:
    assert to_markdown(Summary((TABLE,), (LEFT,)), "pareto.svg") == (
        INTRODUCTION
        + """
![tok/s per system against tok/s/user](pareto.svg)

## CPU: Made-up CPU for tests, 2 cores, 8 GiB

| ISL | OSL | concurrency | requests | trials | tok/s | tok/s/user | TTFT p50 ms | TTFT p99 ms | TPOT p50 ms | TPOT p99 ms |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| 32 | 8 | 1 | 16 | 1 | 123.5 | 61.73 | 9.88 | 12.00 | 5.25 | 6.50 |
| 128 | 1 | 16 | 16 | 2 | 1235 | 0.50 | 100.0 | 2000 | - | - |

### made-up-test-data-00000000

- Measured: 2025-01-01T00:00:00.000Z to 2025-01-02T00:00:00.000Z; 2 of 3 trials
- Runtime: cpu, w4a16; bundle 0123456789ab; environment ba9876543210
- Software: python 3.11.0, numpy 1.26.4
- Source: 001122334455, commit ffffffffffffffffffffffffffffffffffffffff
- Command: `trtkit bench run made-up.yaml`

## Not in the tables

| run | trial | status | reason |
| --- | --- | --- | --- |
| made-up-test-data-00000000 | 0123456789/r1-1 | failed | the \\| server is gone |
"""  # noqa: E501
    )


def test_the_terminals_table_whole() -> None:
    assert to_text(TABLE) == (
        """\
CPU: Made-up CPU for tests, 2 cores, 8 GiB
  ISL  OSL  concurrency  requests  trials  tok/s  tok/s/user  TTFT p50 ms  TTFT p99 ms  TPOT p50 ms  TPOT p99 ms
   32    8            1        16       1  123.5       61.73         9.88        12.00         5.25         6.50
  128    1           16        16       2   1235        0.50        100.0         2000            -            -"""
    )


def test_several_runs_are_told_apart() -> None:
    text = to_text(Table("CPU", "m", (RUN, RUN), ROWS[:1]))
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["run", RUN.name]


def test_nothing_measured_yet() -> None:
    run = Run("r", 3, 0, None, None, "cpu, w4a16", "b", "e", {}, None, "s", ())
    text = to_markdown(Summary((Table("CPU", "m", (run,), ()),), ()), None)
    assert "- Measured: nothing measured; 0 of 3 trials\n" in text
    assert "- Source: s\n" in text
    assert "pareto" not in text.lower()
    assert "Not in the tables" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.00"),
        (9.999, "10.00"),
        (99.5, "99.50"),
        (123.44, "123.4"),
        (99999.5, "100000"),
        (1e7, "10000000"),
    ],
)
def test_figures(value: float | None, text: str) -> None:
    assert figure(value) == text
