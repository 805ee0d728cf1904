"""Find the one line of a Triton log that says why it did not start."""

from __future__ import annotations

import re

# The reason ends where a traceback ("At:") or the next log entry begins, which starts with its level and date.
_LOAD_FAILURE = re.compile(
    r"failed to load '[^']*'(?: version \d+)?: (?:\w+: )?(.+?)(?=\n\s*\n|\n[EWI]\d{4} |\nAt:|\Z)", re.DOTALL
)
_ERROR_ENTRY = re.compile(r"^E\d{4} [^\]]*\] \"?(.+?)\"?$|^error: (.+)$", re.MULTILINE)
PORT_TAKEN = re.compile(r"address already in use|failed to start (?:http|grpc|metrics)|failed to bind", re.IGNORECASE)


def reason(text: str) -> str:
    """The model's own exception if there is one, else the last error, else the last line; always one line."""
    loads = _LOAD_FAILURE.findall(text)
    if loads:
        return _one_line(loads[-1])
    errors = ["".join(groups) for groups in _ERROR_ENTRY.findall(text)]
    lines = text.strip().splitlines()
    return _one_line(errors[-1] if errors else lines[-1] if lines else "it wrote nothing to its log")


def _one_line(text: str) -> str:
    return " ".join(text.split())
