from __future__ import annotations

from dataclasses import replace

import pytest

from toolkit.bench.markdown import INTRODUCTION, figure, to_markdown, to_text
from toolkit.bench.summary import LeftOut, Measures, Row, Run, Summary, Table

RUN = Run(
    name="made-up-test-data-00000000",
    strategy="grid",
    planned=3,
    measured=2,
    started_at="2025-01-01T00:00:00.000Z",
    ended_at="2025-01-02T00:00:00.000Z",
    load_average=(0.5, 1.25),
    disturbed=0,
    variants=(Measures("default", "cpu, w4a16", "0123456789ab"),),
    environment="ba9876543210",
    software={"python": "3.11.0", "numpy": "1.26.4"},
    git_commit="f" * 40,
    source="001122334455",
    commands=("trtkit bench run made-up.yaml",),
)
ROWS = (
    Row(RUN.name, "default", 32, 8, 1, 16, 1, 123.456, 61.728, 9.876, 12.0, 5.25, 6.5),
    Row(RUN.name, "default", 128, 1, 16, 16, 2, 1234.56, 0.5, 100.04, 2000.0, None, None),
)
TABLE = Table("CPU", "Made-up CPU for tests, 2 cores, 8 GiB", "triton", (RUN,), ROWS)
LEFT = LeftOut(RUN.name, "0123456789/r1-1", "failed", "the | server\nis gone")


def test_the_report_whole() -> None:
    assert to_markdown(Summary((TABLE,), (LEFT,)), "pareto.svg") == (
        INTRODUCTION
        + """
![tok/s per system against tok/s/user](pareto.svg)

## CPU: Made-up CPU for tests, 2 cores, 8 GiB; streamed through Triton's gRPC endpoint

| ISL | OSL | concurrency | requests | trials | tok/s | tok/s/user | TTFT p50 ms | TTFT p99 ms | TPOT p50 ms | TPOT p99 ms |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| 32 | 8 | 1 | 16 | 1 | 123.5 | 61.73 | 9.88 | 12.00 | 5.25 | 6.50 |
| 128 | 1 | 16 | 16 | 2 | 1235 | 0.50 | 100.0 | 2000 | - | - |

### made-up-test-data-00000000

- Measured: 2025-01-01T00:00:00.000Z to 2025-01-02T00:00:00.000Z; grid, 2 of 3 trials; load average 0.50 to 1.25
- Runtime: cpu, w4a16; bundle 0123456789ab
- Environment: ba9876543210; python 3.11.0, numpy 1.26.4
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
CPU: Made-up CPU for tests, 2 cores, 8 GiB; streamed through Triton's gRPC endpoint
  ISL  OSL  concurrency  requests  trials  tok/s  tok/s/user  TTFT p50 ms  TTFT p99 ms  TPOT p50 ms  TPOT p99 ms
   32    8            1        16       1  123.5       61.73         9.88        12.00         5.25         6.50
  128    1           16        16       2   1235        0.50        100.0         2000            -            -"""
    )


def test_several_runs_are_told_apart() -> None:
    text = to_text(Table("CPU", "m", "triton", (RUN, RUN), ROWS[:1]))
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["run", RUN.name]


def test_variants_are_a_column_and_each_is_explained() -> None:
    variants = (Measures("w4a16", "cpu, w4a16", "0" * 12), Measures("w4a4", "cpu, w4a4", "1" * 12))
    run = replace(RUN, variants=variants, strategy="frontier")
    rows = tuple(replace(ROWS[0], variant=name) for name in ("w4a16", "w4a4"))
    table = Table("CPU", "m", "engine", (run,), rows)
    assert [line.split()[0] for line in to_text(table).splitlines()[1:]] == ["variant", "w4a16", "w4a4"]
    text = to_markdown(Summary((table,), ()), None)
    assert "## CPU: m; the engine in one process with its load, no server\n" in text
    assert "| w4a4 | 32 | 8 |" in text
    assert "; frontier, 2 trials, chosen among 3 points; load average 0.50 to 1.25\n" in text
    assert "- w4a16: cpu, w4a16; bundle 000000000000\n- w4a4: cpu, w4a4; bundle 111111111111\n" in text


def test_rates_and_traces_and_what_disturbed_them() -> None:
    rows = (replace(ROWS[0], concurrency=0, rate=2.5), replace(ROWS[0], isl=0, osl=0, concurrency=0))
    table = Table("CPU", "m", "triton", (replace(RUN, disturbed=2),), rows)
    assert [line.split()[:3] for line in to_text(table).splitlines()[2:]] == [
        ["32", "8", "2.5/s"],
        ["trace", "trace", "replay"],
    ]
    text = to_markdown(Summary((table,), ()), None)
    assert "- Caution: beside 2 of the trials others used more than a quarter of the CPU\n" in text


def test_nothing_measured_yet() -> None:
    run = Run("r", "grid", 3, 0, None, None, None, 0, (), "e", {}, None, "s", ())
    text = to_markdown(Summary((Table("CPU", "m", "triton", (run,), ()),), ()), None)
    assert "- Measured: nothing measured; grid, 0 of 3 trials\n" in text
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
