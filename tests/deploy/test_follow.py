from __future__ import annotations

import threading
from pathlib import Path

from toolkit.deploy.follow import Follower


def test_lines_come_whole_and_all(tmp_path: Path) -> None:
    path, said, first = tmp_path / "log", list[str](), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        first.set()

    with Follower(path, say):
        path.write_text("one\ntw")
        assert first.wait(10)
        assert said == ["one"]
        with path.open("a") as file:
            file.write("o\nthree\nfo")
    assert said == ["one", "two", "three"]


def test_a_file_that_never_comes(tmp_path: Path) -> None:
    said = list[str]()
    with Follower(tmp_path / "log", said.append):
        pass
    assert said == []
