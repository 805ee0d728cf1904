"""A comparison as text: aligned columns for a terminal, Markdown for a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toolkit.bench.stats.comparison import VERDICTS, CellResult, Comparison, Interval, MetricResult
from toolkit.bench.stats.identity import Difference
from toolkit.bench.stats.samples import Cell, label

HEADINGS = ("cell", "repeats", "baseline", "candidate", "change", "interval", "q", "noise", "verdict", "")
TEXT_COLUMNS = (0, 8, 9)  # aligned to the left


def to_text(comparison: Comparison) -> str:
    """For a terminal: summary, one table a metric, and a line for everything that is not alike."""
    lines = [f"{comparison.baseline} → {comparison.candidate}: {_counts(comparison)}", ""]
    for result in comparison.metrics:
        lines += [title(result), *(f"  {line}" for line in _aligned(_table(result, comparison))), ""]
    return "\n".join(lines + remarks(comparison)).rstrip() + "\n"


def to_markdown(comparison: Comparison) -> str:
    """The same for a repository."""
    lines = [f"# {comparison.baseline} → {comparison.candidate}", "", f"{_counts(comparison)}.", ""]
    for result in comparison.metrics:
        heading, *rows = _table(result, comparison)
        rule = [":---" if index in TEXT_COLUMNS else "---:" for index in range(len(heading))]
        lines += [f"## {title(result)}", "", *(_row(cells) for cells in (heading, rule, *rows)), ""]
    found = remarks(comparison)
    lines += ["## Not alike", "", *(f"- {line}" for line in found)] if found else []
    return "\n".join(lines).rstrip() + "\n"


def title(result: MetricResult) -> str:
    """``tpot_ms.p50, lower is better, 2 % matters: -3.1 % (-3.4 to -2.9) over 12 cells``."""
    metric = result.metric
    text = f"{metric.name}, {metric.better} is better, {100 * metric.threshold:g} % matters"
    if result.headline is None:
        return text
    line = result.headline
    interval = "" if line.interval is None else f" ({_interval(line.interval)})"
    return f"{text}: {_change(line.ratio)}{interval} over {line.cells} cell{'s' if line.cells != 1 else ''}"


def remarks(comparison: Comparison) -> list[str]:
    """One line for each difference, cell of one side alone and value left out; what forbids a verdict first."""
    found = sorted(comparison.differences, key=lambda difference: (not difference.forbids, difference.of == "context"))
    lines = [f"{_class(difference)} differs: {difference}" for difference in found]
    lines += [f"only in {comparison.baseline}: {label(cell)}" for cell in comparison.only_baseline]
    lines += [f"only in {comparison.candidate}: {label(cell)}" for cell in comparison.only_candidate]
    return lines + list(comparison.notes)


def _class(difference: Difference) -> str:
    return "declared identity" if difference.declared else difference.of


def _counts(comparison: Comparison) -> str:
    return ", ".join(f"{comparison.count(verdict)} {verdict}" for verdict in VERDICTS)


def _table(result: MetricResult, comparison: Comparison) -> list[tuple[str, ...]]:
    level = f"{100 * (1 - comparison.alpha):g} % interval"
    heading = tuple(level if name == "interval" else name for name in HEADINGS)
    common = _common([one.cell for one in result.cells])
    return [heading, *(_cells(one, common) for one in result.cells)]


def _cells(result: CellResult, common: Iterable[str]) -> tuple[str, ...]:
    sides = (result.baseline, result.candidate)
    clipped = f"{result.clipped} far repeat{'s' if result.clipped != 1 else ''} pulled in" if result.clipped else ""
    return (
        label(result.cell, common),
        "/".join(str(side.repeats) for side in sides),
        *("-" if side.median is None else f"{side.median:.4g}" for side in sides),
        "-" if result.ratio is None else _change(result.ratio),
        "-" if result.interval is None else _interval(result.interval),
        "-" if result.q is None else "<0.001" if result.q < 0.001 else f"{result.q:.3f}",
        "-" if result.noise is None else f"{100 * result.noise:.2f} %",
        result.verdict,
        "; ".join(filter(None, (result.reason, clipped))),
    )


def _common(cells: Sequence[Cell]) -> set[str]:
    """Names of conditions that are the same in all of several cells."""
    if len(cells) < 2:
        return set()
    shared = set(cells[0]).intersection(*cells[1:])
    return {name for name, _ in shared}


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def _interval(interval: Interval) -> str:
    return f"{100 * (interval.low - 1):+.2f} to {100 * (interval.high - 1):+.2f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in TEXT_COLUMNS else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _row(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
