"""``trtkit bench``: run a sweep, report on recorded ones, parse what trtllm-bench printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolkit.cli.common import (
    URL_VARIABLE,
    byte_progress,
    echo_json,
    json_option,
    load_recipe,
    recipe_argument,
    set_option,
    terminated_as_interrupted,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from toolkit.bench.events import Event
    from toolkit.bench.run import SweepResult
    from toolkit.recipe import Recipe


@click.group()
def command() -> None:
    """Run a sweep, or report on recorded ones.

    \b
    Example:
      trtkit bench run recipes/tiny-gpt-oss/cpu.yaml
      trtkit bench report recipes/tiny-gpt-oss/cpu.yaml
    """


@command.command()
@recipe_argument
@set_option
@click.option(
    "--url",
    metavar="HOST:PORT",
    envvar=URL_VARIABLE,
    show_envvar=True,
    help="Measure the server at this gRPC address instead of starting one.",
)
@click.option("--build", is_flag=True, help="Build the bundles first that are not as the recipe says.")
@click.option("--dry-run", is_flag=True, help="Print the points, and every command line; measure and write nothing.")
@json_option
def run(
    recipe_path: Path, overrides: tuple[str, ...], url: str | None, build: bool, dry_run: bool, as_json: bool
) -> None:
    """Measure what RECIPE's bench section asks for and record each trial under bench.output.

    bench.runner measures: Triton on the built bundle, started once for each variant; the engine in this process; or
    trtllm-bench. bench.strategy chooses the points, and each record says why. What is recorded already is skipped, so
    an interrupted sweep goes on where it stopped. Exit code 1 when a trial failed.

    \b
    Example:
      trtkit bench run recipes/tiny-gpt-oss/cpu.yaml
      trtkit bench run recipes/tiny-gpt-oss/cpu.yaml --set bench.concurrency=[1,8] --set bench.repeats=3
      trtkit bench run recipes/tiny-gpt-oss/precisions.yaml --build
      trtkit bench run gpt-oss-120b/b200 --set bench.runner=trtllm-bench --dry-run
    """
    recipe = load_recipe(recipe_path, overrides)
    if dry_run:
        _show_plan(recipe, as_json)
        return
    from toolkit.bench.run import run_sweep

    if build:
        from toolkit.bench.bundles import build_bundles
        from toolkit.recipe import variants_of

        with byte_progress("engine") as progress:
            build_bundles(variants_of(recipe), progress)
    argv = ["trtkit", "bench", "run", str(recipe_path)]
    argv += [part for override in overrides for part in ("--set", override)]
    argv += (["--url", url] if url else []) + (["--build"] if build else [])
    with _Display.open() as display, terminated_as_interrupted():
        result = run_sweep(recipe, url=url, argv=argv, on_event=display.show)
    if as_json:
        echo_json(_result(result))
    else:
        click.echo(f"{result.folder}\n{_tally(result)}")
    if result.stopped:
        click.echo(f"error: the sweep stopped early: {result.stopped}", err=True)
    if not result.ok:
        raise click.exceptions.Exit(1)


@command.command()
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path, exists=True, file_okay=False))
def index(folder: Path) -> None:
    """Write index.jsonl of the sweep in FOLDER anew from its trials, and say which of them are damaged.

    \b
    Example:
      trtkit bench index results/local/tiny-gpt-oss-cpu-565804ad
    """
    from toolkit.bench.records import locked, scan_sweep, write_index

    with locked(folder):
        scan = scan_sweep(folder)
        path = write_index(folder, scan.trials)
    click.echo(f"{path}: {len(scan.trials)} trials")
    for error in scan.damaged:
        click.echo(f"error: {error}", err=True)
    if scan.damaged:
        raise click.exceptions.Exit(1)


@command.command()
@click.argument("source", metavar="RECIPE|FOLDER", default="tiny-gpt-oss/cpu", type=click.Path(path_type=Path))
@set_option
@json_option
def report(source: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Write report.md and pareto.svg from records: those under a recipe's bench.output, or under a folder.

    FOLDER is one sweep's, or one that holds sweeps.

    \b
    Example:
      trtkit bench report recipes/tiny-gpt-oss/cpu.yaml
      trtkit bench report results/local --json
    """
    from toolkit.bench.markdown import to_text
    from toolkit.bench.report import write_report

    if source.is_dir() and overrides:
        raise click.UsageError("--set goes with a recipe, not with a folder")
    folder = source if source.is_dir() else load_recipe(source, overrides).bench.output
    written = write_report(folder)
    if as_json:
        files = {"report": str(written.path), "plot": str(written.plot) if written.plot else None}
        echo_json(files | asdict(written.summary))
        return
    click.echo(written.path)
    if written.plot:
        click.echo(written.plot)
    for table in written.summary.tables:
        click.echo(f"\n{to_text(table)}")
    if written.summary.left_out:
        click.echo(f"\n{len(written.summary.left_out)} trial(s) are not in the tables; the report says why")


@command.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@json_option
def parse(files: tuple[str, ...], as_json: bool) -> None:
    """Read what trtllm-bench printed or wrote with --report_json, of any release, and check its numbers.

    FILE may hold several reports, may be cut, and is - for standard input. Exit code 1 when a FILE holds no report, and
    when the numbers of one contradict each other or its outputs are not as long as its dataset asked for.

    \b
    Example:
      trtkit bench parse bench.log report.json
      trtllm-bench ... | trtkit bench parse - --json
    """
    from toolkit.bench.trtllm.card import card, title
    from toolkit.bench.trtllm.measurement import SCHEMA_VERSION
    from toolkit.bench.trtllm.parse import parse_all
    from toolkit.errors import TrtkitError

    reports, wrong = [], []
    for file in files:
        try:
            with click.open_file(file, "rb") as stream:
                found = parse_all(stream.read())
        except (TrtkitError, OSError) as error:
            wrong.append(f"{file}: {error.strerror if isinstance(error, OSError) else error}")
            continue
        reports += [(file, report) for report in found]
        wrong += [f"{file}: {check.name}: {check.detail}" for report in found for check in report.violations]
    if as_json:
        documents = [
            {"file": file, "violations": [check.name for check in report.violations]}
            | report.model_dump(mode="json", exclude={"schema_version"})
            for file, report in reports
        ]
        echo_json({"schema_version": SCHEMA_VERSION, "reports": documents})
    else:
        for file, report in reports:
            click.echo("\n".join([f"{file}: {title(report)}", *card(report)]))
    for line in wrong:
        click.echo(f"error: {' '.join(line.split())}", err=True)
    if wrong:
        raise click.exceptions.Exit(1)


def _show_plan(recipe: Recipe, as_json: bool) -> None:
    from toolkit.bench.dry_run import command_lines
    from toolkit.bench.sweep import outline
    from toolkit.recipe import DEFAULT

    planned = outline(recipe)
    lines = command_lines(recipe, planned)
    if as_json:
        trials: list[dict[str, object]] = [{"point_id": one.point_id, **asdict(one)} for one in planned.points]
        for trial, line in zip(trials, lines, strict=False):
            trial["argv"] = list(line.argv)
        head = {"recipe": recipe.name, "output": str(recipe.bench.output), "runner": recipe.bench.runner}
        echo_json({**head, "strategy": planned.strategy, "repeats": planned.repeats, "trials": trials})
        return
    requests = sum(point.requests for point in planned.points)
    what = "trials" if planned.strategy == "grid" else f"points to choose from ({planned.strategy})"
    click.echo(
        f"{recipe.name}: {len(planned.points)} {what}, {requests} measured requests, "
        f"runner {recipe.bench.runner}, records under {recipe.bench.output}"
    )
    named = any(point.variant != DEFAULT for point in planned.points)
    width = max(len("variant"), *(len(point.variant) for point in planned.points))
    column = f"{'variant':<{width}}  " if named else ""
    click.echo(f"  {column}trial    ISL    OSL  concurrency  requests  warm-up  repeat  point")
    for number, p in enumerate(planned.points, 1):
        counts = f"{p.isl:>5}  {p.osl:>5}  {p.concurrency:>11}  {p.requests:>8}  {p.warmup:>7}  {p.repeat:>6}"
        column = f"{p.variant:<{width}}  " if named else ""
        click.echo(f"  {column}{number:>5}  {counts}  {p.point_id}")
    for line in lines:
        click.echo(line.shell)


def _result(result: SweepResult) -> dict[str, object]:
    fields = {"status", "error", "point_id", "point", "attempt", "why", "checks", "metrics"}
    return {
        "folder": str(result.folder),
        "skipped": result.skipped,
        "ended": result.ended,
        "stopped": result.stopped,
        "trials": [trial.model_dump(mode="json", include=fields) for trial in result.trials],
    }


def _tally(result: SweepResult) -> str:
    counts = {"ok": 0, "failed": 0, "invalid": 0} | Counter(trial.status for trial in result.trials)
    return ", ".join([f"{result.skipped} finished before", *(f"{count} {status}" for status, count in counts.items())])


class _Display:
    """Talk on stderr: a bar for the running trial where stderr is a terminal, a line for each one that ends."""

    def __init__(self, progress: Progress, bar: TaskID) -> None:
        self._progress = progress
        self._bar = bar
        self._count = ""

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[_Display]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            yield cls(progress, progress.add_task("starting", total=None))

    def show(self, event: Event) -> None:
        from toolkit.bench.events import Answered, Finished, Resumed, Started

        match event:
            case Resumed(folder, finished, total, damaged):
                of = "" if total is None else f" of {total}"
                self._say(f"{folder}: {finished}{of} trials are finished already")
                for error in damaged:
                    self._say(f"damaged, not taken: {error}")
            case Started(number, total, point, _):
                self._count = f"{number}" if total is None else f"{number}/{total}"
                self._progress.reset(self._bar, total=point.requests, description=f"{self._count} {point}")
            case Answered(requests):
                self._progress.update(self._bar, completed=requests)
            case Finished(trial):
                outcome = f"{trial.status}: {trial.reason}"
                if trial.metrics is not None:
                    outcome = f"{trial.metrics.system_output_throughput_tok_s:.1f} tok/s"
                self._say(f"{self._count} {trial.point}: {outcome}")

    def _say(self, line: str) -> None:
        self._progress.console.print(line, soft_wrap=True, markup=False, highlight=False)
