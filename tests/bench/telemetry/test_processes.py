from __future__ import annotations

import os
from pathlib import Path

from toolkit.bench.telemetry.processes import Family, Process, processes


def add(proc: Path, pid: int, parent: int, session: int, times: tuple[int, int, int, int], name: str = "x") -> None:
    (proc / str(pid)).mkdir()
    fields = f"S {parent} {pid} {session} 0 -1 0 0 0 0 0 {' '.join(map(str, times))} 20 0 1 0 9"
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {fields}\n")


def test_processes(tmp_path: Path) -> None:
    add(tmp_path, 7, 1, 5, (1, 20, 300, 4000), name="a) S 9 (b")
    (tmp_path / "8").mkdir()
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "stat").write_text("9 (short) S 1")
    (tmp_path / "stat").write_text("cpu 1 2 3")
    assert processes(tmp_path) == {7: Process(parent=1, session=5, ticks=4321)}
    assert processes(tmp_path / "absent") == {}


def test_who_belongs_to_it(tmp_path: Path) -> None:
    none = (0, 0, 0, 0)
    add(tmp_path, 10, 1, 10, none)
    add(tmp_path, 30, 11, 30, none)  # a child's child, which leads a session
    add(tmp_path, 11, 10, 10, none)
    add(tmp_path, 31, 1, 30, none)  # left by its parent, in that session
    add(tmp_path, 50, 1, 50, none)
    family = Family(10, tmp_path)
    assert set(family.look()) == {10, 11, 30, 31, 50}
    assert family.members == {10, 11, 30, 31}


def test_who_was_seen_in_it_stays(tmp_path: Path) -> None:
    none = (0, 0, 0, 0)
    add(tmp_path, 10, 1, 1, none)
    add(tmp_path, 11, 10, 1, none)
    family = Family(10, tmp_path)
    family.look()
    (tmp_path / "11" / "stat").write_text((tmp_path / "11" / "stat").read_text().replace("S 10", "S 1"))
    add(tmp_path, 12, 11, 1, none)
    family.look()
    assert family.members == {10, 11, 12}
    (tmp_path / "11" / "stat").unlink()
    family.look()
    assert family.members == {10, 12}


def test_this_process() -> None:
    family = Family()
    seen = family.look()
    assert os.getpid() in family.members
    assert os.getppid() not in family.members
    assert seen[os.getpid()].parent == os.getppid()
