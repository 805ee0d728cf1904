"""Which processes belong to a benchmark: those it started, and what they started."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """``ticks``: CPU time of it and of its children that have ended, user and system, in clock ticks."""

    parent: int
    session: int
    ticks: int


@dataclass(slots=True)
class Family:
    """The processes below ``root``. Who was seen in it stays in it, also when a parent has ended."""

    root: int = field(default_factory=os.getpid)
    proc: Path = PROC
    members: set[int] = field(default_factory=set)

    def look(self) -> dict[int, Process]:
        """Every process that can be seen now, by PID; brings ``members`` up to date."""
        seen = processes(self.proc)
        self.members = (self.members | {self.root}) & seen.keys()
        while joined := {pid for pid, process in seen.items() if pid not in self.members and self._is_own(process)}:
            self.members |= joined
        return seen

    def _is_own(self, process: Process) -> bool:
        """A daemon has no parent here, but a session that one of the family leads."""
        return process.parent in self.members or process.session in self.members


def processes(proc: Path) -> dict[int, Process]:
    """Each process of ``/proc`` (proc(5), ``stat``); one that ends meanwhile is left out."""
    found = {}
    try:
        folder = os.open(proc, os.O_RDONLY)
    except OSError:
        return {}
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.isdecimal()]
        for name in names:
            # the name in parentheses may hold anything
            values = _stat(folder, name).rpartition(b")")[2].split()
            if len(values) > 14:
                found[int(name)] = Process(int(values[1]), int(values[3]), sum(map(int, values[11:15])))
    finally:
        os.close(folder)
    return found


def _stat(folder: int, name: str) -> bytes:
    """By descriptors: with paths and buffers, a host's hundreds of processes take almost twice as long."""
    try:
        file = os.open(f"{name}/stat", os.O_RDONLY, dir_fd=folder)
    except OSError:
        return b""
    try:
        return os.read(file, 4096)
    except OSError:
        return b""
    finally:
        os.close(file)
