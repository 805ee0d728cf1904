"""Runs the small recipe's sweep in a process of its own, which kills itself at a chosen operation.

    python -m tests.bench.sweep_process RECIPE [OPERATION]

Operations are the file operations below bench.output and the answered requests, counted from 1; without a number the
count of all of them is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.runners.engines import Engines
from toolkit.bench.events import Answered, Event
from toolkit.bench.run import run_sweep
from toolkit.recipe import load

AUDITED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def counted(fatal: int) -> Callable[[], int]:
    """Counts its calls, and ends the process at number ``fatal``."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    return tick


def main(path: str, fatal: int) -> None:
    recipe = load(Path(path))
    folder, tick = str(recipe.bench.output), counted(fatal)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in AUDITED and str(arguments[0]).startswith(folder):
            tick()

    def listen(event: Event) -> None:
        if isinstance(event, Answered):
            tick()

    sys.addaudithook(audit)
    run_sweep(recipe, runner=Engines().runner, on_event=listen)
    print(tick() - 1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0)
