from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from toolkit.serving.process import Group

# a leader whose child outlives it, as Triton's model process does; the line says that both are up
PARENT = """
import signal, subprocess, sys, time
if {stubborn}:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""


def start(tmp_path: Path, *, stubborn: bool) -> tuple[Group, int]:
    log = tmp_path / "log"
    group = Group([sys.executable, "-c", PARENT.format(stubborn=stubborn)], cwd=tmp_path, env=os.environ, log=log)
    while not (text := log.read_text()).endswith("\n"):
        assert group.returncode() is None
    return group, int(text)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(("stubborn", "grace_s", "code"), [(False, 10, -signal.SIGTERM), (True, 0.1, -signal.SIGKILL)])
def test_terminate_leaves_nothing(tmp_path: Path, stubborn: bool, grace_s: float, code: int) -> None:
    group, child = start(tmp_path, stubborn=stubborn)
    assert group.children() == (child,)
    group.terminate(grace_s)
    assert (group.returncode(), group.children(), gone(child)) == (code, (), True)
    group.terminate(grace_s)


def test_child_of_a_killed_leader_is_still_found_and_ended(tmp_path: Path) -> None:
    group, child = start(tmp_path, stubborn=False)
    os.kill(group.pid, signal.SIGKILL)
    while group.returncode() is None:
        pass
    assert group.children() == (child,)
    group.kill()
    assert (group.children(), gone(child)) == ((), True)
