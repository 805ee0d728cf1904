"""A log file's lines as they come, for a container whose log is its own output."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

POLL_S = 0.2


class Follower:
    """Passes each whole line of ``path`` to ``say``, from a thread; the file may come later."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trtkit-follow", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._path.exists():
            if self._done.wait(POLL_S) and not self._path.exists():
                return
        with self._path.open(errors="replace") as file:
            rest = ""
            while not self._done.wait(POLL_S):
                rest = self._pass_on(file, rest)
            self._pass_on(file, rest)

    def _pass_on(self, file: TextIO, rest: str) -> str:
        """Say the lines that are whole, and return the beginning of the next."""
        *lines, rest = (rest + file.read()).split("\n")
        for line in lines:
            self._say(line)
        return rest
