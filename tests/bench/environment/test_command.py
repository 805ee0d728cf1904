from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.preflight.made_up import executable, without_temporary_folder
from toolkit.bench.environment.command import MOST, Answer, run


def test_both_outputs_and_the_code(tmp_path: Path) -> None:
    said = run([str(executable(tmp_path / "say", "echo one; echo two >&2; exit 3"))], 60)
    assert said == Answer(3, "one\n", "two\n")
    assert said.complaint == "two"


def test_a_flood_is_cut() -> None:
    assert run([sys.executable, "-c", "print('x' * 1000000)"], 60) == Answer(0, "x" * MOST)


def test_bytes_that_are_no_text() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff!')"
    assert run([sys.executable, "-c", code], 60) == Answer(0, "\ufffd!")


def test_it_reads_nothing_and_speaks_english(tmp_path: Path) -> None:
    answer = run([str(executable(tmp_path / "ask", 'read -r line || echo "nothing in $LC_ALL"'))], 60)
    assert answer.out == "nothing in C\n"


def test_one_that_does_not_end() -> None:
    assert run(["/bin/sleep", "600"], 0.1) == Answer(None)


def test_ctrl_c_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(["/bin/sleep", "600"], 60)
    assert started[0].returncode == -signal.SIGKILL


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run([str(tmp_path / "nobody")], 60)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (Answer(1, "a", "b\n c \n\n"), "c"),
        (Answer(1, "banner"), "exit code 1"),
        (Answer(-9, "", "\n"), "exit code -9"),
    ],
)
def test_the_complaint(answer: Answer, complaint: str) -> None:
    assert answer.complaint == complaint


def test_a_grandchild_that_keeps_the_pipes_open_is_not_waited_for(tmp_path: Path) -> None:
    script = executable(tmp_path / "daemon", "/bin/sleep 600 & echo $!; exit 0")
    answer = run([str(script)], 60)
    os.kill(int(answer.out), signal.SIGKILL)
    assert (answer.code, answer.err) == (0, "")


def test_one_that_closes_its_outputs_and_goes_on(tmp_path: Path) -> None:
    script = executable(tmp_path / "quiet", "echo said; exec >&- 2>&-; /bin/sleep 0.1; exit 4")
    assert run([str(script)], 60) == Answer(4, "said\n")


def test_no_temporary_folder_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = executable(tmp_path / "say", "echo one")
    without_temporary_folder(monkeypatch)
    assert run([str(script)], 60) == Answer(0, "one\n")
