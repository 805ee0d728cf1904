"""Read the files that a run left, whole or not."""

from __future__ import annotations

from pathlib import Path

from toolkit.bench.trtllm.argv import PointFiles
from toolkit.bench.trtllm.logs import read_text
from toolkit.bench.trtllm.measurement import Measurement
from toolkit.bench.trtllm.outcome import Evidence
from toolkit.bench.trtllm.parse import parse
from toolkit.bench.trtllm.request_json import BenchRequest, parse_requests
from toolkit.errors import RecordError


def gather(files: PointFiles) -> Evidence:
    """The report from its file, or from stdout where there is no file (some releases write none: #10528)."""
    stdout, stderr = read_text(files.stdout), read_text(files.stderr)
    faults: list[str] = []
    measurement = _report(files.report, faults)
    if measurement is None and not files.report.exists():
        measurement = _printed(stdout)
    requests = _requests(files.requests, faults)
    return Evidence(stdout, stderr, measurement, requests, faults[0] if faults else None)


def _report(path: Path, faults: list[str]) -> Measurement | None:
    if not path.exists():
        return None
    try:
        report = parse(path.read_bytes())
    except RecordError as error:
        faults.append(f"{path.name}: {error.what}")
        return None
    if report.source == "report-json" and "the JSON is cut" in report.notes:
        faults.append(f"{path.name}: the JSON is cut")
    return report


def _printed(stdout: str) -> Measurement | None:
    try:
        return parse(stdout)
    except RecordError:
        return None


def _requests(path: Path, faults: list[str]) -> tuple[BenchRequest, ...] | None:
    if not path.exists():
        return None
    try:
        return parse_requests(path.read_bytes())
    except RecordError as error:
        faults.append(f"{path.name}: {error.what}")
        return None
