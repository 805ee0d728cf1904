"""A summary as text: Markdown for the report file, aligned columns for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.bench.summary import LeftOut, Row, Run, Summary, Table
from toolkit.recipe import DEFAULT

HEADINGS = (
    "ISL",
    "OSL",
    "concurrency",
    "requests",
    "trials",
    "tok/s",
    "tok/s/user",
    "TTFT p50 ms",
    "TTFT p99 ms",
    "TPOT p50 ms",
    "TPOT p99 ms",
)

INTRODUCTION = """\
# Benchmark report

A closed loop: `concurrency` users, each sending its next request when its last one has ended. Where that column is a
rate (/s) or a replay, requests are sent at their own times, whatever is in flight, and each one's clock starts when it
was due. Every prompt has exactly ISL tokens and every output exactly OSL, unless the run's workload says otherwise.
Each runner has tables of its own: what they measure is not the same.

- tok/s: output tokens of the whole system per second, from the first start to the last end.
- tok/s/user: mean over requests of OSL / end-to-end latency, prefill and waiting included.
- TTFT: time from before a request is sent to its first token; trtllm-bench counts from its admission. TPOT:
  (end − first token) / (OSL − 1).
- Percentiles are nearest rank; with fewer than 100 requests p99 is the slowest one.
- A row is the median over its trials.
"""


RUNNERS = {
    "triton": "streamed through Triton's gRPC endpoint",
    "engine": "the engine in one process with its load, no server",
    "trtllm-bench": "trtllm-bench throughput",
}


def to_markdown(summary: Summary, plot: str | None) -> str:
    """The report; ``plot`` is the name of the image beside it."""
    parts = [INTRODUCTION]
    if plot is not None:
        parts.append(f"![tok/s per system against tok/s/user]({plot})\n")
    parts += [_section(table) for table in summary.tables]
    if summary.left_out:
        parts.append(_left_out(summary.left_out))
    return "\n".join(parts)


def to_text(table: Table) -> str:
    """Title and right-aligned columns."""
    lines = _lines(table)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([title(table), *(f"  {line}" for line in aligned)])


def title(table: Table) -> str:
    return f"{table.hardware}: {table.machine}; {RUNNERS[table.runner]}"


def figure(value: float | None) -> str:
    """Two decimals below 100, one below 1000, none above: never an exponent."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def _lines(table: Table) -> list[tuple[str, ...]]:
    """Heading and rows; the run is a column when there are several, and so is the variant."""
    several = len(table.runs) > 1
    named = {row.variant for row in table.rows} - {DEFAULT} != set()
    lines = [(*(("run",) if several else ()), *(("variant",) if named else ()), *HEADINGS)]
    for row in table.rows:
        lines.append((*((row.run,) if several else ()), *((row.variant,) if named else ()), *_cells(row)))
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.isl or "trace", row.osl or "trace", row.load, row.requests, row.trials)
    figures = (row.tok_s, row.tok_s_user, row.ttft_p50_ms, row.ttft_p99_ms, row.tpot_p50_ms, row.tpot_p99_ms)
    return (*map(str, counts), *map(figure, figures))


def _section(table: Table) -> str:
    heading, *rows = _lines(table)
    rule = ["---:"] * len(heading)
    lines = [f"## {title(table)}", "", *(_table_line(cells) for cells in (heading, rule, *rows)), ""]
    return "\n".join(lines + [line for run in table.runs for line in _provenance(run)])


def _provenance(run: Run) -> list[str]:
    dates = f"{run.started_at} to {run.ended_at}" if run.measured else "nothing measured"
    software = ", ".join(f"{name} {version}" for name, version in run.software.items())
    commit = f", commit {run.git_commit}" if run.git_commit else ""
    of = f"of {run.planned} trials" if run.strategy == "grid" else f"trials, chosen among {run.planned} points"
    load = "" if run.load_average is None else "; load average {:.2f} to {:.2f}".format(*run.load_average)
    return [
        f"### {run.name}",
        "",
        f"- Measured: {dates}; {run.strategy}, {run.measured} {of}{load}",
        *(
            f"- {'Runtime' if one.variant == DEFAULT else one.variant}: {one.target}; bundle {one.bundle}"
            for one in run.variants
        ),
        *(
            [f"- Caution: beside {run.disturbed} of the trials others used more than a quarter of the CPU"]
            if run.disturbed
            else []
        ),
        f"- Environment: {run.environment}; {software}",
        f"- Source: {run.source}{commit}",
        *(f"- Command: `{command}`" for command in run.commands),
        "",
    ]


def _left_out(left_out: Sequence[LeftOut]) -> str:
    rows = [("run", "trial", "status", "reason"), ("---",) * 4]
    rows += [(left.run, left.trial, left.status, left.reason) for left in left_out]
    return "\n".join(["## Not in the tables", "", *(_table_line(row) for row in rows), ""])


def _table_line(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
