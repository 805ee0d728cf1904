"""An event loop whose time is counted, not waited for: a timer fires as soon as nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

Result = TypeVar("Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s. Code that blocks is played by ``advance``."""

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and for nothing that has a time"
        self._loop.advance(max(0.0, timeout))
        return super().select(0)


def run(work: Coroutine[Any, Any, Result], monkeypatch: pytest.MonkeyPatch) -> Result:
    """The result of ``work`` on a ``VirtualLoop``; ``time.monotonic_ns`` is the loop's meanwhile."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, monkeypatch.context() as patch:
        loop = runner.get_loop()
        patch.setattr(time, "monotonic_ns", lambda: round(loop.time() * 1e9))
        return runner.run(work)
