"""The Pareto plot: tok/s per system against tok/s/user, a panel for each table."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

from toolkit.bench.summary import Row, Summary, Table
from toolkit.errors import MissingExtraError
from toolkit.recipe import DEFAULT

WIDTH, HEIGHT = 560, 340
COLORS = ("#1f4e79", "#b35900", "#3d7a4a", "#7a4a7a", "#8a7b2a", "#4d8fa6", "#8f3b3b", "#5c5c5c")
INK, MUTED, GRID = "#222222", "#5a5a5a", "#e4e4e4"


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point whether no other is at least as large in both coordinates and larger in one."""
    return [
        not any(x >= own_x and y >= own_y and (x, y) != (own_x, own_y) for x, y in points) for own_x, own_y in points
    ]


def draw(summary: Summary) -> str:
    """The plot as an SVG that needs nothing else.

    A line joins the concurrencies of one ISL/OSL and variant of one run; filled points are on its Pareto front. Raises
    ``MissingExtraError`` without altair and vl-convert.
    """
    altair = _altair()
    panels = [_panel(altair, table) for table in summary.tables if table.rows]
    chart = (
        altair.vconcat(*panels, spacing=36)
        .resolve_scale(color="independent")
        .configure(background="white", padding=16, font="Helvetica, Arial, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            gridColor=GRID,
            domainColor=MUTED,
            tickColor=MUTED,
            labelColor=INK,
            titleColor=INK,
            titlePadding=10,
            labelFontSize=12,
            titleFontSize=13,
            titleFontWeight="normal",
        )
        .configure_legend(labelColor=INK, titleColor=INK, labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .configure_title(
            anchor="start",
            color=INK,
            fontSize=15,
            subtitleColor=MUTED,
            subtitleFontSize=12,
            offset=14,
            subtitlePadding=6,
        )
    )
    svg = io.StringIO()
    chart.save(svg, format="svg")
    return svg.getvalue()


def require() -> None:
    """Raise ``MissingExtraError`` unless ``draw`` has its packages."""
    _altair()


def _altair() -> Any:
    try:
        import altair
        import vl_convert  # noqa: F401  (altair writes SVG through it)
    except ImportError:
        raise MissingExtraError("altair", "report") from None
    return altair


def _panel(altair: Any, table: Table) -> Any:
    data = altair.Data(values=_values(table))
    series = list(dict.fromkeys(value["series"] for value in data.values))
    color = altair.Color(
        "series:N",
        title="ISL / OSL, tokens" + ("; variant" if _named(table) else "") + ("; run" if len(table.runs) > 1 else ""),
        legend=altair.Legend(labelLimit=0),
        scale=altair.Scale(domain=series, range=[COLORS[n % len(COLORS)] for n in range(len(series))]),
    )
    base = altair.Chart(data).encode(
        x=_axis(altair, altair.X, data, "user", "tok/s/user: output tokens per second of one user"),
        y=_axis(altair, altair.Y, data, "system", "tok/s per system: output tokens per second"),
        color=color,
    )
    line = base.mark_line(strokeWidth=2).encode(order="load:Q")
    dominated = base.mark_point(size=70, filled=False, fill="white", strokeWidth=2, opacity=1)
    front = base.transform_filter("datum.front").mark_point(size=70, filled=True, opacity=1)
    labels = base.mark_text(align="left", dx=8, dy=-7, fontSize=11).encode(text="label:N")
    heading = f"{table.hardware}, {table.runner}: throughput of the system against speed for a user"
    return altair.layer(line, dominated, front, labels).properties(
        width=WIDTH, height=HEIGHT, title=altair.Title(heading, subtitle=_subtitle(table))
    )


def _named(table: Table) -> bool:
    """Whether its rows are of variants that have names."""
    return any(row.variant != DEFAULT for row in table.rows)


def _axis(altair: Any, channel: Any, data: Any, field: str, title: str) -> Any:
    """From 0 to a little more than the largest value, so that its label has room."""
    largest = max(value[field] for value in data.values)
    return channel(
        f"{field}:Q",
        title=title,
        scale=altair.Scale(domain=[0, 1.08 * largest], nice=True),
        axis=altair.Axis(tickCount=7),
    )


def _subtitle(table: Table) -> list[str]:
    days = sorted({run.started_at[:10] for run in table.runs if run.started_at})
    runs = ", ".join(run.name for run in table.runs if run.measured)
    span = " to ".join(dict.fromkeys((days[0], days[-1])))
    lines = (table.machine, f"{runs}; {span}", "c: requests in flight. Filled points: Pareto front of their line.")
    return [piece for line in lines for piece in textwrap.wrap(line, 100)]


def _values(table: Table) -> list[dict[str, Any]]:
    lines: dict[str, list[Row]] = {}
    for row in table.rows:
        name = f"{row.isl} / {row.osl}" + (f"  {row.variant}" if _named(table) else "")
        lines.setdefault(name if len(table.runs) == 1 else f"{name}  {row.run}", []).append(row)
    return [
        {
            "series": series,
            "load": row.concurrency or row.rate or 0.0,
            "user": row.tok_s_user,
            "system": row.tok_s,
            "front": on_front,
            "label": f"c={row.load}" if row.concurrency else row.load,
        }
        for series, rows in lines.items()
        for row, on_front in zip(rows, pareto_front([(row.tok_s_user, row.tok_s) for row in rows]), strict=True)
    ]
