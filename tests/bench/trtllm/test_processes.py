from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.bench.trtllm.processes import MARK, Family

SLEEP = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); {SLEEP}"
PARENT = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {!r}], start_new_session={}); {}"


@pytest.fixture
def families() -> Iterator[list[Family]]:
    made: list[Family] = []
    yield made
    for family in made:
        family.end(0.0)
        family.close()


def start(families: list[Family], code: str) -> Family:
    family = Family([sys.executable, "-c", code], cwd=None, env=dict(os.environ))
    families.append(family)
    return family


def state(pid: int) -> str | None:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def test_it_ends_by_itself(families: list[Family]) -> None:
    family = start(families, "print('out'); import sys; print('err', file=sys.stderr); sys.exit(3)")
    assert [pipe.read() for pipe in family.outputs] == [b"out\n", b"err\n"]
    assert family.end(5.0) == ()
    assert family.exit_code() == 3


def test_end_is_polite(families: list[Family]) -> None:
    family = start(families, SLEEP)
    assert family.exit_code() is None
    assert len(family.members()) == 1
    assert family.end(10.0) == ()
    assert family.exit_code() == -signal.SIGTERM


def test_end_insists(families: list[Family]) -> None:
    family = start(families, STUBBORN)
    assert family.outputs[0].read(1) == b"x"
    assert family.end(0.1) == ()
    assert family.exit_code() == -signal.SIGKILL


@pytest.mark.parametrize("new_session", [False, True])
@pytest.mark.parametrize("after", ["", SLEEP])
def test_what_it_started_is_found_in_any_session(families: list[Family], new_session: bool, after: str) -> None:
    """Also when its parent has ended, and when it ignores SIGTERM."""
    code = PARENT.format(STUBBORN, new_session, "print(p.pid, flush=True);" + after)
    family = start(families, code)
    words = b""
    while words.count(b"\n") < 2:  # the worker's and its parent's line, in either order
        words += os.read(family.outputs[0].fileno(), 100)
    worker = next(int(word) for word in words.split() if word != b"x")
    assert worker in family.members()
    assert family.end(0.1) == ()
    assert state(worker) in (None, "Z")


def test_others_are_left_alone(families: list[Family]) -> None:
    environment = {**os.environ, MARK: "another"}
    with subprocess.Popen([sys.executable, "-c", SLEEP], env=environment, start_new_session=True) as other:
        family = start(families, SLEEP)
        assert other.pid not in family.members()
        family.end(5.0)
        assert other.poll() is None
        other.kill()


def test_no_such_command() -> None:
    with pytest.raises(FileNotFoundError):
        Family(["/no/such/command"], cwd=None, env={})
