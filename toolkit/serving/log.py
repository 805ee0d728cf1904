"""Find the one line of a Triton log that says why it did not start."""

from __future__ import annotations

import re

# level, date, time, pid and source position, then the message in quotes with its line ends and quotes escaped
_ENTRY = re.compile(r'^([EWIF])\d{4} \S+ \d+ [^\]]+\] "(.*)"$', re.MULTILINE)
_LOAD_FAILURE = re.compile(
    r"failed to load '[^']+' version \d+: [A-Z][a-z ]+: (?:TritonModelException: )?(.+?)\s*(?:At:\n.*)?", re.DOTALL
)
_HARMLESS = re.compile(r"CudaDriverHelper|NVML|DCGM|pinned system memory")
PORT_TAKEN = re.compile(r"address already in use|failed to start (?:http|grpc|metrics)|failed to bind", re.IGNORECASE)


def reason(text: str) -> str:
    """The model's own exception if there is one, else the last error, on one line; empty if the log names neither.

    A log without entries is what was printed before Triton could log: then its last line.
    """
    entries = [(level, message.replace(r"\n", "\n").replace(r"\"", '"')) for level, message in _ENTRY.findall(text)]
    loads = [match[1] for _, message in entries if (match := _LOAD_FAILURE.fullmatch(message))]
    errors = [message for level, message in entries if level in "EF" and not _HARMLESS.search(message)]
    lines = [] if entries else text.strip().splitlines()
    return " ".join((loads or errors or lines or [""])[-1].split())
