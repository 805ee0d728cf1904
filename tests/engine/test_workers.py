from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from toolkit.engine.workers import Tick, run_tasks


def named(name: str, *ticks: int) -> Callable[[Tick], str]:
    def task(tick: Tick) -> str:
        for count in ticks:
            tick(count)
        return name

    return task


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("trtkit-build")]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_task_is_done_once_and_every_byte_counted(count: int) -> None:
    done: list[str] = []
    ticks: list[int] = []
    run_tasks([named(str(number), number, 1) for number in range(9)], count, done.append, ticks.append)
    assert sorted(done) == [str(number) for number in range(9)]
    assert sum(ticks) == sum(range(9)) + 9
    assert ours() == []


def test_results_and_ticks_come_on_the_calling_thread_in_a_task_s_order() -> None:
    events: list[object] = []

    def note(event: object) -> None:
        assert threading.current_thread() is threading.main_thread()
        events.append(event)

    run_tasks([named("a", 1, 2), named("b", 3)], 1, note, note)
    assert events == [1, 2, "a", 3, "b"]


def endless(started: threading.Event) -> Callable[[Tick], str]:
    def task(tick: Tick) -> str:
        started.set()
        while True:
            tick(1)

    return task


def test_a_failing_task_ends_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    started = threading.Event()

    def failing(tick: Tick) -> str:
        started.wait()
        raise OSError(28, "No space left on device")

    never: list[str] = []
    tasks = [endless(started), failing, named("never")]
    with pytest.raises(OSError, match="No space left"):
        run_tasks(tasks, 2, never.append, lambda count: None)
    assert (never, ours()) == ([], [])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("where", ["advanced", "finished"])
def test_what_the_caller_raises_ends_the_tasks(where: str) -> None:
    class Stop(BaseException):
        pass

    def stop(event: object) -> None:
        raise Stop

    started = threading.Event()
    tasks = [named("done"), endless(started)] if where == "finished" else [endless(started), endless(started)]
    told = {"finished": lambda result: None, "advanced": lambda count: None, where: stop}
    with pytest.raises(Stop):
        run_tasks(tasks, 2, **told)
    assert ours() == []


def test_ctrl_c_ends_the_tasks() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent: list[int] = []

    def interrupt(count: int) -> None:
        if not sent:
            sent.append(count)
            os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            run_tasks([endless(threading.Event())], 2, lambda result: None, interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ours() == []
