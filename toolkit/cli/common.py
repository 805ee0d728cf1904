"""What several verbs share: the RECIPE argument, ``--set``, ``--json`` and the progress bar."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from toolkit.recipe import Recipe

recipe_argument = click.argument("recipe_path", metavar="RECIPE", type=click.Path(path_type=Path))
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key; may be repeated."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


class Seconds(click.FloatRange):
    """``click.FloatRange``, whose comparisons let nan through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


URL_VARIABLE = "TRTKIT_URL"
"""Environment variable with the gRPC address that ``generate`` and ``bench run`` use by default."""


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe at ``path``, or the shipped one of that name (``tiny-gpt-oss/cpu``)."""
    from toolkit import recipe
    from toolkit.resources import recipes_dir

    folder = recipes_dir()
    shipped = folder / f"{path}.yaml"
    # only a name from the list is looked up, so that reading meets whatever is wrong with any other path
    is_name = shipped in folder.glob("*/*.yaml") and not path.exists()
    return recipe.load(shipped if is_name else path, overrides)


def echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal raise ``KeyboardInterrupt``, even where a shell had SIGINT ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def byte_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; yields ``update(done_bytes, total_bytes)``. Silent when stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(label), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
