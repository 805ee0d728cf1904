"""The text that ``trtllm-bench`` logs when it has finished, in all four generations, whole or cut.

Only the first line of the block carries a logger's prefix, and by then the line says nothing more. Progress bars and
log lines around the block are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from toolkit.bench.trtllm.fields import BREAKDOWNS, DATASET_COLUMNS, LABELS, ROWS
from toolkit.bench.trtllm.findings import Findings
from toolkit.bench.trtllm.measurement import Generation

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf)"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOGGER = re.compile(r"(?:\[[^\]\n]*\]\s*){2,4}")
_SECTION = re.compile(r"= (?P<title>[A-Z][A-Z +]+?)(?: \((?P<mode>.+)\))?")
_LABEL = re.compile(r"(?P<label>[A-Z][^:\n]*?)\s*:(?:\s+(?P<value>\S.*))?")
_BREAKDOWN = re.compile(rf"\[(?P<group>{'|'.join(BREAKDOWNS)})\]\s+(?P<stat>[A-Z]\w+)\s*:\s+(?P<value>{_NUMBER})")
_ROW = re.compile(rf"(?P<stat>{'|'.join(ROWS)}):\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})")
_GPU = re.compile(rf"(?P<name>.+), memory (?P<memory>{_NUMBER}|N/A)(?: GB)?, (?P<clock>{_NUMBER}|N/A)(?: GHz)?")
_PERCENT = re.compile(r"\d{1,9}(?:\.\d{1,9})?%", re.ASCII)
_WHOLE_VALUE = re.compile(r"(?!Issue Rate).*(?:\.\d{4}|%)")  # that one goes on with an exponent
BACKENDS = {"PYTORCH BACKEND": "Pytorch", "ENGINE DETAILS": "TRT"}
SECTIONS = {
    *BACKENDS,
    *("MACHINE DETAILS", "REQUEST DETAILS", "WORLD + RUNTIME INFORMATION", "PERFORMANCE OVERVIEW"),
    *("DECODING STATISTICS", "DATASET DETAILS"),
}


def split_reports(text: str) -> list[list[str]]:
    """Lines of each report in ``text``, in order: a loop's log holds several.

    A report starts with its backend's section, or where a section comes a second time. Whatever precedes the first
    section belongs to the first report, since a cut text may start anywhere. The last line is left out where the text
    ends within it and its value may be cut.
    """
    reports: list[list[str]] = [[]]
    seen: set[str] = set()
    for line in _lines(text):
        section = _SECTION.fullmatch(line)
        title = section["title"] if section else None
        if title in SECTIONS:
            if title in seen or (seen and title in BACKENDS):
                reports.append([])
                seen = set()
            seen.add(title)
        reports[-1].append(line)
    return reports


def read_console(lines: list[str]) -> Findings:
    """What one report's lines say."""
    found = Findings()
    section = None
    for line in lines:
        header = _SECTION.fullmatch(line)
        if header and header["title"] in SECTIONS:
            section = header["title"]
            _start_section(found, section, header["mode"])
        elif section == "MACHINE DETAILS" and (gpu := _GPU.fullmatch(line)):
            for name, key in (("name", "name"), ("memory_total_gib", "memory"), ("memory_clock_ghz", "clock")):
                found.add(f"machine.{name}", gpu[key])
        else:
            _read_line(found, line)
    return found


def generation_of(lines: list[str], found: Findings) -> Generation | None:
    """By what only one generation prints; None where nothing of that kind is there."""
    labels = {match["label"] for line in lines if (match := _LABEL.fullmatch(line))}
    if "machine" in found.sections:
        return "v2-machine"
    if "Token Throughput (tokens/sec)" in labels:
        return "v1"
    if any("tokens/sec/" in label for label in labels):
        return "v2-old"
    return "v2" if any("(tps/" in label for label in labels) else None


def _lines(text: str) -> Iterator[str]:
    """Stripped, without colour codes and the logger's prefix; lines of the logger that say something are left out."""
    pieces = re.split(r"\r\n|\n|\r", _ANSI.sub("", text))
    if pieces[-1] and not _WHOLE_VALUE.fullmatch(pieces[-1].strip()):
        pieces.pop()
    for piece in pieces:
        line = piece.strip()
        prefix = _LOGGER.match(line)
        rest = line[prefix.end() :] if prefix else line
        if prefix is None or rest.startswith("="):
            yield rest


def _start_section(found: Findings, title: str, mode: str | None) -> None:
    if title in BACKENDS:
        found.add("engine.backend", BACKENDS[title])
    elif title == "MACHINE DETAILS":
        found.sections.add("machine")
    elif title == "DECODING STATISTICS":
        found.sections.add("decoding")
        found.add("decoding.mode", mode)


def _read_line(found: Findings, line: str) -> None:
    if match := _BREAKDOWN.fullmatch(line):
        stat = ROWS.get(match["stat"], match["stat"].lower())
        path = f"{BREAKDOWNS[match['group']][0]}.{stat}"
        if stat in ROWS.values():
            found.add(path, match["value"])
    elif match := _ROW.fullmatch(line):
        for column, value in zip(DATASET_COLUMNS, match.groups()[1:], strict=True):
            found.add(f"{column}.{ROWS[match['stat']]}", value)
    elif (match := _LABEL.fullmatch(line)) and match["label"] in LABELS:
        path = LABELS[match["label"]][0]
        found.add(path, _value(path, match["value"] or ""))


def _value(path: str, text: str) -> object:
    """A percentage as a fraction with the digits it had."""
    if path == "world.kv_cache_fraction" and _PERCENT.fullmatch(text):
        return Decimal(text[:-1]).scaleb(-2)
    return text
