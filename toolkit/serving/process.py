"""One server process and what it started, as a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

POLL_S = 0.05


class Group:
    """A child process that leads its own group, so that whatever it leaves behind can be ended too."""

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        """Start ``argv``; stdout and stderr are appended to ``log``."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def returncode(self) -> int | None:
        """None while the leader runs."""
        return self._process.poll()

    def children(self) -> tuple[int, ...]:
        """Pids of the group's live processes other than the leader."""
        return tuple(pid for pid in _group_members(self.pid) if pid != self.pid)

    def terminate(self, grace_s: float) -> None:
        """SIGTERM to the leader; when it is gone, or after ``grace_s`` seconds, SIGKILL to all that is left."""
        try:
            if self.returncode() is None:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(grace_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when nothing of it is left."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        while self.children():
            time.sleep(POLL_S)


def _group_members(group: int) -> list[int]:
    """Pids whose process group is ``group``, from /proc; zombies do not count."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # the command name, in brackets, may hold anything: fields are counted from its end
            state, _, pgrp = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                members.append(int(folder.name))
    return members
