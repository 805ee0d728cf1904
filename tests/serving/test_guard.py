from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from toolkit.serving.guard import Guard

STARTER = """
import subprocess, sys
from pathlib import Path
from toolkit.serving.guard import Guard
server = subprocess.Popen(["sh", "-c", "sleep 300 & exec sleep 300"], start_new_session=True)
guard = Guard(server.pid, (Path(sys.argv[1]),))
print(server.pid, flush=True)
sys.stdin.read()
"""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_starter_takes_its_server_along(tmp_path: Path, root: Path) -> None:
    for name in ("region-1", "region-2", "other"):
        (tmp_path / name).write_text("")
    argv = [sys.executable, "-c", STARTER, str(tmp_path / "region")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        group = int(starter.stdout.readline())
        assert not gone(group)
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    until(lambda: gone(group))
    until(lambda: [path.name for path in tmp_path.iterdir()] == ["other"])


def test_a_released_guard_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "region").write_text("")
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as server:
        guard = Guard(server.pid, (tmp_path / "region",))
        guard.release()
        guard.release()
        assert server.poll() is None
        server.kill()
    assert (tmp_path / "region").exists()
