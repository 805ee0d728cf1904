"""Probes of the host or container: limits, file systems, Harmony's vocabulary. Nothing stays behind."""

from __future__ import annotations

import os
import re
import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from toolkit.chat.vocabulary import BASE_VARIABLE, MAX_BYTES, File, download
from toolkit.checkpoint.files import sha256_file
from toolkit.checkpoint.regular import open_regular, reading
from toolkit.errors import CheckpointError
from toolkit.preflight.machine import HostMemory, Limits, Storage, Vocabulary

MEMINFO = Path("/proc/meminfo")


def limits() -> Limits:
    return Limits(_soft(resource.RLIMIT_MEMLOCK), _soft(resource.RLIMIT_STACK), _soft(resource.RLIMIT_NOFILE))


def _soft(kind: int) -> int | None:
    soft = resource.getrlimit(kind)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def storage(path: Path) -> Storage:
    """The file system that ``path`` is or will be on; whether it takes a file is tried in the nearest folder.

    Where a file stands in the way of a folder, that file is the place, and it takes none.
    """
    folder = path.absolute()
    while not _is_there(folder) and folder != folder.parent:
        folder = folder.parent
    status = os.statvfs(folder)
    total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    return Storage(str(folder), total, free, _takes_a_file(folder), folder.stat().st_dev)


def memory(meminfo: Path = MEMINFO) -> HostMemory | None:
    """``MemTotal`` and ``MemAvailable`` of /proc/meminfo (proc(5), kB of 1024 bytes)."""
    try:
        text = meminfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = dict(re.findall(r"^(MemTotal|MemAvailable):\s+([0-9]{1,15}) kB$", text, re.MULTILINE))
    if len(found) < 2:
        return None
    return HostMemory(int(found["MemTotal"]) * 1024, int(found["MemAvailable"]) * 1024)


def has_file(path: Path) -> bool:
    """Whether this process can see it: one inside a closed folder is as good as absent."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _takes_a_file(folder: Path) -> bool:
    """Permission bits say nothing about root, read-only mounts and quotas."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
    except OSError:
        return False
    return True


def vocabulary(file: File, environment: Mapping[str, str]) -> Vocabulary:
    """Where openai-harmony will look: the base folder if it is set, else the file that it downloaded before."""
    base = environment.get(BASE_VARIABLE)
    path = Path(base) / file.name if base is not None else download(environment, file)
    state, problem = _state(path, file.sha256)
    return Vocabulary(base is not None, str(path), state, problem)


def _state(path: Path, sha256: str) -> tuple[Literal["good", "absent", "damaged"], str | None]:
    """Whether the file has this SHA-256, and what is wrong with one that has not; reads no pipe and no huge file."""
    try:
        with reading(path), open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            good = size <= MAX_BYTES and sha256_file(path) == sha256
    except CheckpointError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return "absent", None
        return "damaged", error.what
    return ("good", None) if good else ("damaged", "is damaged: its SHA-256 is another")
