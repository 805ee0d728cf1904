"""Read what ``trtllm-bench`` left: the file of ``--report_json``, or the text that it printed, of any release."""

from __future__ import annotations

from toolkit.bench.trtllm import console, report_json
from toolkit.bench.trtllm.fields import BREAKDOWNS, DATASET_COLUMNS, JSON, LABELS, NEVER_MISSED, OPTIONAL_SECTIONS
from toolkit.bench.trtllm.findings import GROUPS, STATS, TYPES, Findings
from toolkit.bench.trtllm.identities import check_report
from toolkit.bench.trtllm.measurement import Generation, Measurement, Source
from toolkit.errors import RecordError

MAX_BYTES = 256 << 20
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_TELLING = ("world.", "request_info.", "performance.", "streaming.", "dataset.", "machine.")
"""Sections of which one value makes a text a report; words like Model stand in any log."""


def parse(data: str | bytes) -> Measurement:
    """The last report in ``data``; ``notes`` says so where there are several.

    Raises ``RecordError`` where there is none. A report that was cut, or has NaN in it, gives what it has: see
    ``Measurement.missing`` and ``notes``. Numbers that contradict each other are in ``Measurement.violations``.
    """
    reports = parse_all(data)
    if len(reports) == 1:
        return reports[0]
    note = f"the last of {len(reports)} reports"
    return reports[-1].model_copy(update={"notes": (*reports[-1].notes, note)})


def parse_all(data: str | bytes) -> tuple[Measurement, ...]:
    """Every report in ``data``, in its order; ``RecordError`` where there is none."""
    text = _decode(data)
    loaded = report_json.load_report(text) if text.lstrip()[:1] == "{" else None
    if loaded is not None:
        report, mended = loaded
        found = report_json.read_report(report)
        found.notes += ["the JSON is cut"] if mended else []
        results = [_finish(found, "report-json", report_json.generation_of(report))]
    else:
        texts = [(lines, console.read_console(lines)) for lines in console.split_reports(text)]
        results = [
            _finish(found, "console", console.generation_of(lines, found)) for lines, found in texts if _tells(found)
        ]
    if not results:
        hint = "Give what trtllm-bench printed, or the file of its --report_json"
        raise RecordError("there is no trtllm-bench report in it", hint=hint)
    return tuple(results)


def _decode(data: str | bytes) -> str:
    if len(data) > MAX_BYTES:
        raise RecordError(f"it is larger than {MAX_BYTES >> 20} MiB", hint="Cut the report out of it")
    if isinstance(data, str):
        return data
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    return data.decode(encoding, errors="replace")


def _tells(found: Findings) -> bool:
    return any(path.startswith(_TELLING) for path in found.seen) or bool(found.sections)


def _finish(found: Findings, source: Source, generation: Generation | None) -> Measurement:
    bare = found.measurement(source, generation)
    update = {"checks": check_report(bare, found), "missing": _missing(bare, found)}
    return bare.model_copy(update=update)


def _missing(report: Measurement, found: Findings) -> tuple[str, ...]:
    """Expected and not printed, in the order of the sections; what lacks altogether by the name of the whole."""
    absent = {name for name in OPTIONAL_SECTIONS.values() if getattr(report, name) is None}
    expected = _json_paths() if report.source == "report-json" else _console_paths(report.generation)
    wanted = {path for path in TYPES if path in expected and path.partition(".")[0] not in absent}
    prefixes = {prefix for path in found.seen for prefix in _wholes(path)}
    lacking = [
        next((whole for whole in _wholes(path) if whole not in prefixes), path)
        for path in TYPES
        if path in wanted - found.seen
    ]
    return tuple(dict.fromkeys(lacking))


def _wholes(path: str) -> tuple[str, ...]:
    """What ``path`` is a part of, largest first: its section, and its statistics if it is one."""
    section, _, rest = path.partition(".")
    return (section, path.rpartition(".")[0]) if "." in rest else (section,)


def _console_paths(generation: Generation | None) -> set[str]:
    """Of v2 where the generation is not known: its values are those of v2-old and of v2-machine."""
    mine = generation or "v2"
    paths = {path for path, generations in LABELS.values() if mine in generations}
    groups = [group for group, generations in BREAKDOWNS.values() if mine in generations]
    groups += DATASET_COLUMNS if mine != "v1" else ()
    machine = {path for path in TYPES if path.startswith("machine.")} if mine == "v2-machine" else set()
    return paths | machine | {f"{group}.{stat}" for group in groups for stat in STATS}


def _json_paths() -> set[str]:
    paths = {path for keys in JSON.values() for path in keys.values()} - NEVER_MISSED
    return (paths - GROUPS) | {f"{group}.{stat}" for group in paths & GROUPS for stat in STATS}
