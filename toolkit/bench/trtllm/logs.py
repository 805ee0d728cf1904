"""What a run prints: kept in files of bounded size, read for progress, and for the line that says why it failed."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

TAIL_BYTES = 1 << 20
MAX_LINE = 200
_PROGRESS = re.compile(rb"Benchmarking:[^\r\n|]*\|[^\r\n|]*\|\s*(\d+)/(\d+) \[")
_LOOK_BACK = 512
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"\|[^|]*\|\s*\d+/\d+ \[")
_ERROR = re.compile(
    r"(?:(?:\[[^\]]*\]:?\s*)*[\w.]*(?:Error|Exception|Exit|Interrupt)\b.*|.*\[E\].*|.*[Oo]ut of memory.*|Error: .*)"
)
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|\bMemoryError\b|std::bad_alloc|Cannot allocate memory", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Progress:
    """Requests done of those of the bar that runs: first the warm-up's, then the measured ones."""

    done: int
    total: int


class BoundedLog:
    """A log file of at most ``limit`` bytes: its first part as it comes, its last megabyte (or half) at the end."""

    def __init__(self, path: Path, limit: int) -> None:
        self._tail_limit = min(TAIL_BYTES, limit // 2)
        self._room = limit - self._tail_limit
        self._tail: deque[bytes] = deque()
        self._held = 0
        self._dropped = 0
        self._file: IO[bytes] = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._dropped:
                self._file.write(b"\n[trtkit: %d bytes left out here]\n" % self._dropped)
            for piece in self._tail:
                self._file.write(piece)
        finally:
            self._file.close()

    def write(self, data: bytes) -> None:
        """Raises ``OSError`` when the disk is full."""
        head, rest = data[: self._room], data[self._room :]
        if head:
            self._file.write(head)
            self._file.flush()
            self._room -= len(head)
        if rest:
            self._tail.append(rest)
            self._held += len(rest)
        while self._held > self._tail_limit:
            surplus = self._held - self._tail_limit
            piece = self._tail.popleft()
            if len(piece) > surplus:
                self._tail.appendleft(piece[surplus:])
            cut = min(surplus, len(piece))
            self._held -= cut
            self._dropped += cut


class ProgressReader:
    """Finds tqdm's counts in pieces of a stream, wherever it was cut."""

    def __init__(self) -> None:
        self._rest = b""
        self.last: Progress | None = None

    def feed(self, data: bytes) -> Progress | None:
        """The newest count if it differs from the last one."""
        text = self._rest + data
        self._rest = text[-_LOOK_BACK:]
        counts = _PROGRESS.findall(text)
        if not counts:
            return None
        newest = Progress(int(counts[-1][0]), int(counts[-1][1]))
        if newest == self.last:
            return None
        self.last = newest
        return newest


def read_text(path: Path) -> str:
    """Of a log, "" where there is none."""
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return ""


def useful_line(*texts: str) -> str | None:
    """The last line that names an error, of the first text that has one; else the last line that is no progress bar."""
    found = [_lines(text) for text in texts]
    errors = (line for lines in found for line in reversed(lines) if _ERROR.fullmatch(line))
    others = (line for lines in found for line in reversed(lines))
    line = next(errors, None) or next(others, None)
    return None if line is None else line[:MAX_LINE]


def is_out_of_memory(*texts: str) -> bool:
    """Whether the end of a text says so."""
    return any(_OUT_OF_MEMORY.search(text[-100_000:]) for text in texts)


def _lines(text: str) -> list[str]:
    """Printable, without blanks, bars and rulers; of the last 100,000 characters."""
    pieces = re.split(r"[\r\n]+", _ANSI.sub("", text[-100_000:]))
    lines = ("".join(c for c in piece if c.isprintable()).strip() for piece in pieces)
    return [line for line in lines if line.strip("=-") and not _BAR.search(line)]
