"""The file of ``--report_json``: lenient about what Python's writer lets through, and about a file that was cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from toolkit.bench.trtllm.fields import JSON, OPTIONAL_SECTIONS
from toolkit.bench.trtllm.findings import GROUPS, STATS, Findings
from toolkit.bench.trtllm.measurement import Generation

MAX_NESTING = 64


def load_report(text: str) -> tuple[dict[str, Any], bool] | None:
    """The object in ``text`` with numbers as ``Decimal``, and whether it had to be mended; None for no report.

    A text that ends too early is read up to its last whole member.
    """
    mended = False
    value = _loads(text)
    if value is None:
        value, mended = _loads(_mend(text)), True
    if not isinstance(value, dict) or not any(isinstance(value.get(block), dict) for block in JSON):
        return None
    return value, mended


def read_report(report: Mapping[str, Any]) -> Findings:
    """What the report's blocks say; what is of a wrong kind is noted and missing."""
    found = Findings()
    for block, keys in JSON.items():
        values = report.get(block)
        if values is None:
            continue
        if not isinstance(values, dict):
            found.notes.append(f"{block} is no object")
            continue
        if block in OPTIONAL_SECTIONS:
            found.sections.add(OPTIONAL_SECTIONS[block])
        for key, path in keys.items():
            if key in values:
                _add(found, path, values[key])
    return found


def generation_of(report: Mapping[str, Any]) -> Generation:
    """``machine`` came with 1.3 (null without a GPU), ``energy`` with 1.3.0rc12."""
    if isinstance(report.get("energy"), dict):
        return "json-energy"
    return "json-machine" if "machine" in report else "json"


def _add(found: Findings, path: str, value: object) -> None:
    if path not in GROUPS:
        found.add(path, value)
    elif isinstance(value, dict):
        for stat in STATS:
            if stat in value:
                found.add(f"{path}.{stat}", value[stat])
    elif value is not None:
        found.notes.append(f"{path} is no object")


def _loads(text: str) -> object:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError):  # ValueError: not JSON, or a number longer than Python takes
        return None


def _mend(text: str) -> str:
    """``text`` up to its last comma outside of strings, with what is open there closed; "" where nothing is whole."""
    closers: list[str] = []
    end, rest, in_text, escaped = 0, "", False, False
    for place, character in enumerate(text):
        if in_text:
            in_text, escaped = escaped or character != '"', not escaped and character == "\\"
        elif character == '"':
            in_text = True
        elif character in "{[":
            closers.append("}" if character == "{" else "]")
            if len(closers) > MAX_NESTING:
                return ""
        elif character in "}]":
            if not closers or closers.pop() != character:
                return ""
            end, rest = place + 1, "".join(reversed(closers))
        elif character == ",":
            end, rest = place, "".join(reversed(closers))
    return text[:end] + rest
