"""One process with all that it started, wherever that went: a group can be left, as MPI's workers do.

The start marks the environment, which every descendant inherits; who carries the mark in /proc/<pid>/environ belongs to
the family, whatever its group or session is. Where there is no /proc only the group is known.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from toolkit.serving.guard import Guard

MARK = "TRTKIT_BENCH_POINT"
POLL_S = 0.05
KILL_S = 10.0
"""How long to wait for what SIGKILL was sent to: a process that waits for a driver ends late or never."""


class Family:
    """A started command; stdin is empty, stdout and stderr are pipes. Raises ``OSError`` when it cannot be started.

    If this process is killed, the command's group ends soon after it.
    """

    def __init__(self, argv: Sequence[str], *, cwd: Path | None, env: Mapping[str, str]) -> None:
        self._mark = secrets.token_hex(16)
        self._leader = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**env, MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        try:
            self._guard = Guard(self._leader.pid, ())
        except BaseException:
            self.end(0.0)
            raise

    @property
    def outputs(self) -> tuple[IO[bytes], IO[bytes]]:
        """stdout and stderr."""
        assert self._leader.stdout is not None
        assert self._leader.stderr is not None
        return self._leader.stdout, self._leader.stderr

    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when one ended it."""
        return self._leader.poll()

    def members(self) -> tuple[int, ...]:
        """Pids of all live processes of the family; zombies do not count."""
        return tuple(pid for pid in _pids() if self._belongs(pid))

    def end(self, grace_s: float) -> tuple[int, ...]:
        """SIGTERM to all, SIGKILL to whoever is left after ``grace_s``; pids that even that did not end."""
        try:
            self._signal(signal.SIGTERM)
            self._wait(grace_s)
        finally:
            deadline = time.monotonic() + KILL_S
            # again and again: one that is starting while the others are read is found the next time
            while self._signal(signal.SIGKILL) and time.monotonic() < deadline:
                time.sleep(POLL_S)
        return self.members()

    def close(self) -> None:
        """Let go of the pipes and of the guard, once the family has ended."""
        for pipe in self.outputs:
            pipe.close()
        self._guard.release()

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.members():
            time.sleep(POLL_S)

    def _signal(self, number: signal.Signals) -> bool:
        """Whether anyone was left to get it."""
        if self._leader.poll() is None:
            # while the leader is not reaped nobody else can have its group's number
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, number)
        pids = self.members()
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return bool(pids) or self._leader.poll() is None

    def _belongs(self, pid: int) -> bool:
        # gone by now, or another user's
        with suppress(OSError):
            folder = Path("/proc") / str(pid)
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if state in "ZX":
                return False
            return (
                int(group) == self._leader.pid or f"{MARK}={self._mark}".encode() in (folder / "environ").read_bytes()
            )
        return False


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
