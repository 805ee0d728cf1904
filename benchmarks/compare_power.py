"""How often ``compare`` cries wolf, and how often it finds a change of 3 %, on simulated sweeps.

    PYTHONPATH=. python benchmarks/compare_power.py

A sweep has 30 cells and three repeats a side. The noise of a cell, the standard deviation of log throughput, is drawn
for each cell (``NOISE``): 0.17, 0.4, 0.7 and 3.2 % at the quartiles and the ninth decile, as over 44 groups of public
measurements of one configuration on different dates, and on beyond both ends in the same proportion. Nothing else here
is measured: the worlds are assumptions.

``even``                every cell has a noise of 0.7 %
``varied``              the noise above; the targets are for this world
``varied, outliers``    one run in twenty is 2 to 10 % slow, too
``varied, heavy tails`` Student's t with three degrees of freedom, scaled to the same standard deviation
``varied, both``        these two together
``varied, drift``       the machine's speed wanders (AR(1), 0.95 from run to run, standard deviation 1 %); the runs of
                        both sides are in one random order
``drift, B after A``    the same, but all of one side is measured first: no statistics can mend that

In each world nothing changes, or a fifth of the cells get 3 % slower, or all do. Methods: ``compare``; ``unclipped``,
the same without pulling far repeats in; Welch's test and a pooled standard deviation, called changed by the same
rule. Columns, in percent:

``false``    unchanged cells that are called regressed or improved, of the sweeps where nothing or a fifth changed
``noisiest`` the same of the tenth of the cells with the most noise
``p<.05``    unchanged cells with p < 0.05 where nothing changed: 5 if the interval of a cell is what it says
``any``      sweeps with at least one false call where nothing changed
``fdr``      wrong calls among a sweep's calls where a fifth changed, the mean over sweeps
``one in 5`` power: changed cells that are called regressed, where a fifth of them changed
``all``      the same where all changed
``missed``   changed cells that are called within noise (``compare`` and ``unclipped`` alone have that verdict)
``settled``  unchanged cells that are called within noise, where nothing changed

The last line is one JSON object with the same numbers as shares, and ``met``: in the world ``varied`` ``compare`` has
false ≤ 0.06, noisiest ≤ 0.10 and power ≥ 0.80, for a change of all cells and for that of a fifth. The exit status is 0
whether they are met or not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from machine import processor, versions
from numpy.typing import NDArray

from toolkit.bench.stats.compare import DEFAULT, compare
from toolkit.bench.stats.multiple import benjamini_hochberg
from toolkit.bench.stats.options import THROUGHPUT, Options
from toolkit.bench.stats.samples import Samples, cell_of
from toolkit.bench.stats.special import t_two_sided

CELLS, REPEATS = 30, 3
CHANGE = math.log(0.97)
NOISE = {0.25: 0.0017, 0.5: 0.004, 0.75: 0.007, 0.9: 0.032}
SHARES = {"none": 0.0, "fifth": 0.2, "all": 1.0}
COLUMNS = {"false": "false", "noisiest": "noisiest", "p": "p<.05", "any": "any", "fdr": "fdr"}
COLUMNS |= {"fifth": "one in 5", "all": "all", "missed": "missed", "settled": "settled"}
LIMIT = math.log1p(THROUGHPUT.threshold)
CELL_KEYS = [cell_of({"concurrency": index}) for index in range(CELLS)]

Array = NDArray[np.float64]
Answer = tuple[list[str], list[float]]  # verdict and p of each cell
Test = Callable[["Sweep"], tuple[Array, Array]]  # standard error and degrees of freedom of each cell
Method = Callable[["Sweep"], Answer]


@dataclass(frozen=True)
class World:
    name: str
    even: bool = False
    outliers: bool = False
    heavy: bool = False
    drift: bool = False
    interleaved: bool = True


WORLDS = (
    World("even", even=True),
    World("varied"),
    World("varied, outliers", outliers=True),
    World("varied, heavy tails", heavy=True),
    World("varied, both", outliers=True, heavy=True),
    World("varied, drift", drift=True),
    World("drift, B after A", drift=True, interleaved=False),
)


@dataclass(frozen=True)
class Sweep:
    """``sides``: log throughput, 2 × cells × repeats."""

    noise: Array
    changed: NDArray[np.bool_]
    sides: Array


def noises(generator: np.random.Generator) -> Array:
    """Quantiles joined by lines in log noise, which go on to both ends."""
    shares, logs = np.array(list(NOISE)), np.log(list(NOISE.values()))
    low = logs[0] - (logs[1] - logs[0])
    high = logs[-1] + (logs[-1] - logs[-2]) / (shares[-1] - shares[-2]) * (1 - shares[-1])
    drawn: Array = np.interp(generator.random(CELLS), [0, *shares, 1], [low, *logs, high])
    return np.exp(drawn)


def simulate(world: World, share: float, generator: np.random.Generator) -> Sweep:
    shape = (2, CELLS, REPEATS)
    noise = np.full(CELLS, 0.007) if world.even else noises(generator)
    deviates = generator.standard_t(3, shape) / math.sqrt(3) if world.heavy else generator.standard_normal(shape)
    sides = noise[:, None] * deviates
    if world.outliers:
        sides -= (generator.random(shape) < 0.05) * generator.uniform(0.02, 0.10, shape)
    if world.drift:
        sides += wander(sides.size, generator)[order(world, shape, generator)]
    changed = generator.permutation(CELLS) < round(share * CELLS)
    sides[1] += np.where(changed, CHANGE, 0.0)[:, None]
    return Sweep(noise, changed, sides)


def wander(steps: int, generator: np.random.Generator, keep: float = 0.95, deviation: float = 0.01) -> Array:
    innovations = generator.normal(0, deviation * math.sqrt(1 - keep**2), steps)
    innovations[0] = generator.normal(0, deviation)
    speed = np.empty(steps)
    level = 0.0
    for index, innovation in enumerate(innovations):
        speed[index] = level = keep * level + innovation
    return speed


def order(world: World, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.int64]:
    """At which step each run is measured."""
    size = math.prod(shape)
    if world.interleaved:
        return generator.permutation(size).reshape(shape)
    return np.stack([generator.permutation(size // 2), size // 2 + generator.permutation(size // 2)]).reshape(shape)


def by_compare(clip: bool, fdr: float) -> Method:
    options = Options(metrics=(THROUGHPUT,), clip=clip, fdr=fdr, resamples=1)

    def answer(sweep: Sweep) -> Answer:
        result = compare(samples("a", sweep.sides[0]), samples("b", sweep.sides[1]), options).metrics[0]
        return [cell.verdict for cell in result.cells], [cell.p or 0.0 for cell in result.cells]

    return answer


def samples(name: str, logs: Array) -> Samples:
    values = 1000 * np.exp(logs)
    return Samples(
        name, {key: {THROUGHPUT.name: tuple(row)} for key, row in zip(CELL_KEYS, values.tolist(), strict=True)}
    )


def welch(sweep: Sweep) -> tuple[Array, Array]:
    errors = sweep.sides.var(axis=2, ddof=1) / REPEATS
    df: Array = (REPEATS - 1) * errors.sum(axis=0) ** 2 / (errors**2).sum(axis=0)
    return np.sqrt(errors.sum(axis=0)), df


def pooled(sweep: Sweep) -> tuple[Array, Array]:
    variance = float(sweep.sides.var(axis=2, ddof=1).mean())
    return np.full(CELLS, math.sqrt(2 * variance / REPEATS)), np.full(CELLS, 2.0 * CELLS * (REPEATS - 1))


def classical(test: Test, fdr: float) -> Method:
    def answer(sweep: Sweep) -> Answer:
        errors, dfs = test(sweep)
        effects = np.diff(sweep.sides.mean(axis=2), axis=0)[0]
        p = [t_two_sided(t, df) for t, df in zip((effects / errors).tolist(), dfs.tolist(), strict=True)]
        adjusted = np.array(benjamini_hochberg(p))
        called = (adjusted <= fdr) & (np.array(p) <= DEFAULT.alpha) & (np.abs(effects) > LIMIT)
        names = np.where(effects < 0, "regressed", "improved")
        return np.where(called, names, "").tolist(), p

    return answer


def methods(fdr: float) -> dict[str, Method]:
    return {
        "compare": by_compare(clip=True, fdr=fdr),
        "unclipped": by_compare(clip=False, fdr=fdr),
        "Welch": classical(welch, fdr),
        "pooled SD": classical(pooled, fdr),
    }


def tally(sweep: Sweep, share: str, answer: Answer) -> Iterator[tuple[str, float]]:
    """(column, share) of the sweep and of each cell that the column is about; the share of a cell is 0 or 1."""
    verdicts, p_values = answer
    calls = np.isin(verdicts, ("regressed", "improved"))
    wrong_calls = int((calls & ~sweep.changed).sum())
    if share == "none":
        yield "any", wrong_calls > 0
    elif share == "fifth":
        yield "fdr", wrong_calls / max(1, int(calls.sum()))
    noisy = sweep.noise >= np.quantile(sweep.noise, 0.9)
    for verdict, p, changed, noisiest in zip(verdicts, p_values, sweep.changed, noisy, strict=True):
        if changed:
            yield share, verdict == "regressed"
            yield "missed", verdict == "within noise"
            continue
        wrong = verdict in ("regressed", "improved")
        yield "false", wrong
        if noisiest:
            yield "noisiest", wrong
        if share == "none":
            yield "p", p < 0.05
            yield "settled", verdict == "within noise"


def measure(world: World, asked: Mapping[str, Method], sweeps: int, seed: int) -> dict[str, dict[str, float]]:
    """Share of yes by method and column; every method sees the same sweeps."""
    yes: dict[str, dict[str, list[float]]] = {method: defaultdict(list) for method in asked}
    for share, part in SHARES.items():
        generator = np.random.default_rng([seed, list(SHARES).index(share)])
        for _ in range(sweeps):
            sweep = simulate(world, part, generator)
            for method, ask in asked.items():
                for column, hit in tally(sweep, share, ask(sweep)):
                    yes[method][column].append(hit)
    return {
        method: {column: float(np.mean(found[column])) for column in COLUMNS if applies(method, column)}
        for method, found in yes.items()
    }


def applies(method: str, column: str) -> bool:
    return column not in ("missed", "settled") or method in ("compare", "unclipped")


def met(figures: Mapping[str, float]) -> dict[str, bool]:
    return {
        "false": figures["false"] <= 0.06,
        "noisiest": figures["noisiest"] <= 0.10,
        "power, all": figures["all"] >= 0.80,
        "power, one in 5": figures["fifth"] >= 0.80,
    }


def row(name: str, method: str, figures: Mapping[str, float]) -> str:
    cells = (f"{100 * figures[column]:.1f}" if column in figures else "-" for column in COLUMNS)
    return f"{name:<22}{method:<11}" + "".join(f"{cell:>9}" for cell in cells)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="False alarms and power of compare on simulated sweeps")
    parser.add_argument("--sweeps", type=int, default=300, help="simulated sweeps of each world and change")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fdr", type=float, default=DEFAULT.fdr, help="q up to which a cell is called changed")
    options = parser.parse_args(arguments)
    if options.sweeps < 1:
        parser.error("--sweeps must be at least 1")
    if not 0 < options.fdr < 1:
        parser.error("--fdr must lie between 0 and 1")
    began = time.perf_counter()
    print(f"{options.sweeps} sweeps of {CELLS} cells, n = {REPEATS}, seed {options.seed}, q <= {options.fdr:g}")
    print("simulated; percent\n")
    print(f"{'':<33}" + "".join(f"{heading:>9}" for heading in COLUMNS.values()))
    results = {}
    for world in WORLDS:
        results[world.name] = measure(world, methods(options.fdr), options.sweeps, options.seed)
        for method, figures in results[world.name].items():
            print(row(world.name if method == "compare" else "", method, figures), flush=True)
    print(f"{'target (varied)':<33}{'<= 6':>9}{'<= 10':>9}{'':>27}{'>= 80':>9}{'>= 80':>9}\n")
    rounded = {
        world: {method: {column: round(value, 4) for column, value in row.items()} for method, row in found.items()}
        for world, found in results.items()
    }
    print(f"{processor()}; {time.perf_counter() - began:.0f} s")
    head = {"benchmark": "compare_power", "sweeps": options.sweeps, "cells": CELLS, "repeats": REPEATS}
    head |= {"seed": options.seed, "fdr": options.fdr, "versions": versions("numpy")}
    print(json.dumps({**head, "shares": rounded, "met": met(results["varied"]["compare"])}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
