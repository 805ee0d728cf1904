"""How much of a measured grid the planner would have had to measure: a replay on a table of real measurements.

    PYTHONPATH=. python benchmarks/planner_replay.py ../shared/fixtures/inferencex_gpt_oss_120b_b200.csv

The table has one trial a row, with the columns of ``COLUMNS``; others are not looked at. Rows of one system, backend,
ISL and OSL are a grid: layouts (TP, PP, attention DP, MoE TP, MoE EP) times concurrencies. GPUs are TP · PP · attention
DP, where 0 or nothing means 1. tok/s/user is 1 / TPOT and tok/s/GPU is concurrency / (TPOT + TTFT / OSL) / GPUs.

A point that stands in several rows is one point: the rows of its newest date count, the median of each latency if there
are several. ``backend_version`` does not tell points apart: tables like this mix releases inside one ladder, and who
sweeps again measures today's. The planner gets a point's values only after it has asked for it.

The last line is one JSON object:

``measured_share``
    points measured / points of the grids, all groups together.
``hypervolume_recovered``
    area dominated from (0, 0) in (tok/s/user, tok/s/GPU) by the measured points / by the whole grid; estimates count
    for nothing. Mean of the groups.
``median_curve_error``
    of the trade-off curve, tok/s/GPU against tok/s/user, which is what a deployment is chosen by. In a group: the mean
    of abs(measured / whole - 1) at 201 values of tok/s/user, evenly spaced in logarithm from end to end of the whole
    grid's front. Each curve joins its own measured Pareto points by lines in log-log. Where the measured curve ends at
    a smaller tok/s/user the error is 1; towards slow users it goes on level. Median of the groups.
``median_point_error``
    of every layout's curve, dominated layouts included, where nothing was measured: the median, over all unmeasured
    points of all groups, of abs(estimated / actual - 1) of tok/s/GPU. null if all points were measured.
``worst``
    the largest share and errors and the smallest hypervolume of any group.
``met``
    each target: share ≤ 0.55, hypervolume ≥ 0.97, curve error ≤ 0.02.

``--noise`` multiplies each latency by exp(normal(0, NOISE)) and ``--thin`` keeps that share of the points before
anything else, both by ``--seed``: to see how a change of the planner does on data it was not tuned on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bench.planner.curves import estimate
from toolkit.bench.planner.frontier import Frontier
from toolkit.bench.planner.measured import Rate, read
from toolkit.bench.planner.pareto import front, hypervolume
from toolkit.bench.planner.simple import Climb, Grid
from toolkit.bench.planner.types import Batch, Cell, Ladder, Observation, Planner, Space

SIZES = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
COLUMNS = ("system", "backend", "backend_version", "isl", "osl", "conc", *SIZES, "ttft_ms", "tpot_ms", "date")
TARGETS = {"measured_share": 0.55, "hypervolume_recovered": 0.97, "median_curve_error": 0.02}
PLANNERS: Mapping[str, Callable[[], Planner]] = {"frontier": Frontier, "ladder": Climb, "grid": Grid}
SAMPLES = 201

Array = NDArray[np.float64]
Group = tuple[str, str, int, int]  # system, backend, ISL, OSL


@dataclass(frozen=True)
class Row:
    group: Group
    sizes: tuple[int, ...]
    concurrency: int
    ttft_ms: float
    tpot_ms: float
    date: str


@dataclass(frozen=True)
class Table:
    """Everything that was measured in one group."""

    group: Group
    space: Space
    rates: Mapping[Cell, Rate]


@dataclass(frozen=True)
class Result:
    """What a replay of one group reached; ``point_errors`` has one entry for each unmeasured point."""

    group: Group
    points: int
    measured: int
    hypervolume: float
    curve_error: float
    point_errors: tuple[float, ...]

    @property
    def share(self) -> float:
        return self.measured / self.points

    @property
    def name(self) -> str:
        system, backend, isl, osl = self.group
        return f"{system} {backend} {isl}/{osl}"


class BadTable(Exception):
    """One line: what is wrong and in which line."""


def load(path: Path) -> list[Row]:
    """The rows of a table; raises ``BadTable`` for one that cannot be used."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise BadTable(f"no column {', '.join(missing)}")
            rows = [parse(fields, table.line_num) for fields in table]
    except OSError as error:
        raise BadTable(f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadTable(f"is not CSV in UTF-8: {error}") from None
    if len({(row.group, row.sizes, row.concurrency) for row in rows}) < 2:
        raise BadTable("fewer than two points: nothing to plan")
    return rows


def parse(fields: Mapping[str, str | None], line: int) -> Row:
    if None in fields or None in fields.values():
        raise BadTable(f"line {line} has not as many fields as there are columns")

    def text(name: str) -> str:
        return (fields[name] or "").strip()

    def number(name: str, least: float) -> float:
        try:
            value = float(text(name))
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise BadTable(f"line {line}: {name} is {text(name)!r}, not a number from {least:g}")
        return value

    def count(name: str, least: int) -> int:
        value = number(name, least)
        if value != int(value):
            raise BadTable(f"line {line}: {name} is {text(name)!r}, not a whole number")
        return int(value)

    tpot = number("tpot_ms", 0)
    if tpot == 0:
        raise BadTable(f"line {line}: tpot_ms is 0")
    return Row(
        group=(text("system"), text("backend"), count("isl", 0), count("osl", 1)),
        sizes=tuple(count(name, 0) or 1 if text(name) else 1 for name in SIZES),
        concurrency=count("conc", 1),
        ttft_ms=number("ttft_ms", 0),
        tpot_ms=tpot,
        date=text("date"),
    )


def thin(rows: Iterable[Row], share: float, seed: int) -> list[Row]:
    """Points drawn one by one; all rows of a point stay or go together."""
    generator = random.Random(seed)
    kept: dict[tuple[object, ...], bool] = {}
    return [row for row in rows if kept.setdefault((row.group, row.sizes, row.concurrency), generator.random() < share)]


def tables(rows: Iterable[Row], noise: float, seed: int) -> list[Table]:
    """The groups by name, each point once."""
    groups: dict[Group, dict[tuple[tuple[int, ...], int], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.group][row.sizes, row.concurrency].append(row)
    generator = random.Random(seed)
    return [tabulate(group, points, noise, generator) for group, points in sorted(groups.items())]


def tabulate(
    group: Group, points: Mapping[tuple[tuple[int, ...], int], Sequence[Row]], noise: float, generator: random.Random
) -> Table:
    steps: dict[tuple[int, ...], list[int]] = defaultdict(list)
    rates: dict[Cell, Rate] = {}
    for sizes, concurrency in sorted(points):
        rows = points[sizes, concurrency]
        newest = [row for row in rows if row.date == max(row.date for row in rows)]
        ttft = statistics.median(row.ttft_ms for row in newest) * math.exp(generator.gauss(0, noise)) / 1000
        tpot = statistics.median(row.tpot_ms for row in newest) * math.exp(generator.gauss(0, noise)) / 1000
        steps[sizes].append(concurrency)
        rate = 1 / tpot, concurrency / (tpot + ttft / group[3]) / gpus(sizes)
        rates[Cell(layout(sizes), concurrency)] = rate
    ladders = tuple(Ladder(layout(sizes), gpus(sizes), tuple(ladder)) for sizes, ladder in steps.items())
    return Table(group, Space(ladders), rates)


def gpus(sizes: tuple[int, ...]) -> int:
    return math.prod(sizes[:3])


def layout(sizes: tuple[int, ...]) -> str:
    return "tp{}-pp{}-adp{}-moe{}x{}".format(*sizes)


def replay(table: Table, planner: Planner) -> Result:
    """Ask the planner until it stops, and show it the values of what it asked for."""
    seen: list[Observation] = []
    while isinstance(answer := planner.propose(table.space, seen), Batch):
        for proposal in answer.proposals:
            user, gpu = table.rates[proposal.cell]
            seen.append(Observation(proposal.cell, tps_user=user, tps_gpu=gpu))
    measured = read(table.space, seen)
    rest = [cell for cell in table.space.cells if cell not in measured.rates]
    guesses = estimate(measured, rest) if rest else []
    whole = list(table.rates.values())
    return Result(
        group=table.group,
        points=len(whole),
        measured=len(measured.rates),
        hypervolume=hypervolume(measured.rates.values()) / hypervolume(whole),
        curve_error=curve_error(list(measured.rates.values()), whole),
        point_errors=tuple(
            abs(guess.tps_gpu / table.rates[cell][1] - 1) for cell, guess in zip(rest, guesses, strict=True)
        ),
    )


def curve_error(measured: Sequence[Rate], whole: Sequence[Rate]) -> float:
    """As the module's docstring defines it for a group."""
    users = [user for user, _ in front(whole)]
    # not geomspace's own last value, which can lie a rounding error past the end
    samples = np.clip(np.geomspace(users[-1], users[0], SAMPLES), users[-1], users[0])
    errors = np.abs(trade_off(measured, samples) / trade_off(whole, samples) - 1)
    return float(errors.mean())


def trade_off(rates: Sequence[Rate], users: Array) -> Array:
    """tok/s/GPU of a front at ``users`` tok/s/user; 0 past its fastest user."""
    fast, gpu = np.array(front(rates))[::-1].T
    curve: Array = np.exp(np.interp(np.log(users), np.log(fast), np.log(gpu)))
    return np.where(users <= fast[-1], curve, 0.0)


def summarise(results: Sequence[Result]) -> dict[str, object]:
    errors = [error for result in results for error in result.point_errors]
    median = {result.name: statistics.median(result.point_errors) for result in results if result.point_errors}
    figures = {
        "measured_share": sum(result.measured for result in results) / sum(result.points for result in results),
        "hypervolume_recovered": statistics.mean(result.hypervolume for result in results),
        "median_curve_error": statistics.median(result.curve_error for result in results),
    }
    return {
        **{name: round(value, 4) for name, value in figures.items()},
        "median_point_error": round(statistics.median(errors), 4) if errors else None,
        "worst": {
            "measured_share": round(max(result.share for result in results), 4),
            "hypervolume_recovered": round(min(result.hypervolume for result in results), 4),
            "curve_error": round(max(result.curve_error for result in results), 4),
            "median_point_error": round(max(median.values()), 4) if median else None,
        },
        "met": {
            name: figures[name] >= target if name == "hypervolume_recovered" else figures[name] <= target
            for name, target in TARGETS.items()
        },
    }


def card(result: Result) -> str:
    middle = f"{statistics.median(result.point_errors):>12.1%}" if result.point_errors else f"{'-':>12}"
    return (
        f"{result.name:<32}{result.points:>7}{result.measured:>10}{result.share:>8.1%}"
        f"{result.hypervolume:>13.1%}{result.curve_error:>13.1%}{middle}"
    )


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description="Replay the sweep planner on a table of measurements")
    parser.add_argument("csv", type=Path, metavar="CSV")
    parser.add_argument("--strategy", choices=PLANNERS, default="frontier")
    parser.add_argument("--noise", type=share, default=0.0, help="standard deviation of the latencies' logarithm")
    parser.add_argument("--thin", type=share, default=1.0, help="share of the points to keep")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        rows = load(options.csv)
    except BadTable as error:
        sys.exit(f"{options.csv}: {error}")
    kept = thin(rows, options.thin, options.seed)
    if not kept:
        sys.exit(f"--thin {options.thin:g} leaves no point")
    results = [replay(table, PLANNERS[options.strategy]()) for table in tables(kept, options.noise, options.seed)]
    report = summarise(results)
    points, measured = (sum(getattr(result, name) for result in results) for name in ("points", "measured"))
    print(f"{len(kept)} rows, {points} points in {len(results)} groups, strategy {options.strategy}\n")
    print(f"{'':<32}{'points':>7}{'measured':>10}{'share':>8}{'hypervolume':>13}{'curve error':>13}{'point error':>12}")
    print("\n".join(map(card, results)))
    print(
        f"{'all':<32}{points:>7}{measured:>10}{report['measured_share']:>8.1%}"
        f"{report['hypervolume_recovered']:>13.1%}{report['median_curve_error']:>13.1%}"
        + (f"{report['median_point_error']:>12.1%}" if report["median_point_error"] is not None else f"{'-':>12}")
    )
    print(f"{'target':<57}{'<= 55%':>8}{'>= 97%':>13}{'<= 2%':>13}\n")
    print(json.dumps({"benchmark": "planner_replay", "strategy": options.strategy, "groups": len(results), **report}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
