"""Run a foreign command that may hang, flood or be missing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

MOST = 1 << 16
REAP_S = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """``code`` None means that it did not end in time. Output is cut at 64 KiB."""

    code: int | None
    out: str = ""
    err: str = ""

    @property
    def complaint(self) -> str:
        """How it failed: the last line of stderr, or the exit code; minus a signal's number if one ended it."""
        lines = self.err.strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {self.code}"


def run(argv: Sequence[str], timeout_s: float) -> Answer:
    """Run ``argv`` in a process group of its own, killed after ``timeout_s`` seconds. ``OSError`` if it cannot start.

    Output goes to files: a grandchild that keeps a pipe open would be waited for. Nor is a killed process waited for
    long, since one that hangs inside a driver does not die.
    """
    with TemporaryFile() as out, TemporaryFile() as err:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return Answer(None)
        finally:
            _end(process)
        return Answer(code, _text(out), _text(err))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Also when interrupted: in a group of its own it gets no Ctrl-C."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(REAP_S)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MOST).decode("utf-8", "replace")
