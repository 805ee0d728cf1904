"""Run a foreign command that may hang, flood or be missing."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

MOST = 1 << 16
REAP_S = 1.0
POLL_S = 0.05


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

    Neither a grandchild that keeps a pipe open is waited for, nor long a killed process: one that hangs inside a driver
    does not die. Needs no temporary folder, which a read-only container has not.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
        bufsize=0,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as out, process.stderr as err:
        try:
            return _listen(process, (out.fileno(), err.fileno()), time.monotonic() + timeout_s)
        finally:
            _end(process)


def _listen(process: subprocess.Popen[bytes], pipes: tuple[int, int], deadline: float) -> Answer:
    """What it writes into both pipes until it has ended and they are empty, or closed."""
    said = {pipe: bytearray() for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        ended = False
        while time.monotonic() < deadline:
            ready = [key.fd for key, _ in selector.select(0 if ended else POLL_S)] if selector.get_map() else []
            for pipe in ready:
                piece = os.read(pipe, MOST)
                said[pipe] += piece[: MOST - len(said[pipe])]
                if not piece:
                    selector.unregister(pipe)
            if ended and not ready:
                break
            ended = ended or _has_ended(process, 0 if selector.get_map() else POLL_S)
    return Answer(process.returncode, *(bytes(said[pipe]).decode("utf-8", "replace") for pipe in pipes))


def _has_ended(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
    return process.returncode is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Also when interrupted: in a group of its own it gets no Ctrl-C."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(REAP_S)
