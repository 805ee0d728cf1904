"""Reports: read the records of one or more sweeps, write ``report.md`` and ``pareto.svg`` beside them.

Reports are derived: they are made from records alone and may be written over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.bench import plot
from toolkit.bench.markdown import to_markdown
from toolkit.bench.records import SWEEP_FILE, TRIALS, Scan, scan_sweep
from toolkit.bench.summary import Summary, summarize
from toolkit.checkpoint.files import write_atomic
from toolkit.errors import RecordError

REPORT_FILE, PLOT_FILE = "report.md", "pareto.svg"


@dataclass(frozen=True, slots=True)
class Report:
    """Where a report was written; ``plot`` is None when no trial has numbers to draw."""

    summary: Summary
    path: Path
    plot: Path | None


def write_report(folder: Path) -> Report:
    """Report on the sweep in ``folder``, or on all sweeps directly below it.

    Raises ``RecordError`` when there is none or a sweep's own files are damaged, ``MissingExtraError`` without the
    plot's packages. Damaged trials are listed in the report.
    """
    plot.require()
    summary = summarize(read_sweeps(folder))
    drawn = folder / PLOT_FILE if any(table.rows for table in summary.tables) else None
    if drawn is None:
        (folder / PLOT_FILE).unlink(missing_ok=True)
    else:
        write_atomic(drawn, plot.draw(summary).encode())
    path = folder / REPORT_FILE
    write_atomic(path, to_markdown(summary, drawn.name if drawn else None).encode())
    return Report(summary, path, drawn)


def read_sweeps(folder: Path) -> list[Scan]:
    """The sweep in ``folder``, or those directly below it, that hold any trial.

    Raises ``RecordError`` for none, and for trials without their sweep's file.
    """
    paths = [folder] if _is_sweep(folder) else sorted(filter(_is_sweep, folder.glob("*")))
    scans = [scan for scan in map(scan_sweep, paths) if scan.trials or scan.damaged]
    if not scans:
        raise RecordError("there is no recorded trial", where=str(folder), hint="Type: trtkit bench run RECIPE")
    return scans


def _is_sweep(folder: Path) -> bool:
    if (folder / SWEEP_FILE).is_file():
        return True
    if (folder / TRIALS).is_dir():
        raise RecordError(
            f"{SWEEP_FILE} is missing beside {TRIALS}/",
            where=str(folder),
            hint="Put it back, or move the folder away",
        )
    return False
