from __future__ import annotations

import asyncio

import pytest

from tests import virtual_time
from tests.virtual_time import VirtualLoop
from toolkit.errors import DeadlineError
from toolkit.serving.deadlines import Clock, Deadlines, Watch


async def soon() -> str:
    await asyncio.sleep(0)
    return "done"


@pytest.mark.parametrize(
    ("deadlines", "ticks", "name"),
    [
        (Deadlines(total_s=0.01), 0, "total"),
        (Deadlines(total_s=0.01, first_token_s=9, idle_s=9), 1, "total"),
        (Deadlines(total_s=9, first_token_s=0.01, idle_s=9), 0, "first-token"),
        (Deadlines(total_s=9, first_token_s=9, idle_s=0.01), 1, "idle"),
        (Deadlines(idle_s=0.01), 2, "idle"),
    ],
)
def test_the_deadline_that_passes_first_is_named(deadlines: Deadlines, ticks: int, name: str) -> None:
    async def run() -> None:
        clock = Clock(deadlines)
        for _ in range(ticks):
            clock.tick()
        await clock.within(asyncio.Event().wait())

    with pytest.raises(DeadlineError, match=f"^the {name} deadline of 0.01 s passed$"):
        asyncio.run(run())


@pytest.mark.parametrize("deadlines", [Deadlines(), Deadlines(idle_s=0), Deadlines(total_s=9, first_token_s=9)])
def test_what_comes_in_time_comes_through(deadlines: Deadlines) -> None:
    async def run() -> str:
        return await Clock(deadlines).within(soon())

    assert asyncio.run(run()) == "done"


def test_timeout_of_the_step_itself_is_not_taken_for_a_deadline() -> None:
    async def fails() -> None:
        raise ConnectionError("lost")

    async def run() -> None:
        await Clock(Deadlines(total_s=9)).within(fails())

    with pytest.raises(ConnectionError, match="lost"):
        asyncio.run(run())


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


async def steps(clock: Clock, watch: Watch, count: int, seconds: float) -> None:
    """As many chunks, so far apart."""
    for _ in range(count):
        await watch.within(asyncio.sleep(seconds))
        clock.tick()


@pytest.mark.parametrize(
    ("deadlines", "chunks", "message", "when"),
    [
        (Deadlines(first_token_s=3, idle_s=1), 0, "the first-token deadline of 3 s passed", 3.0),
        (Deadlines(first_token_s=600, idle_s=2), 1, "the idle deadline of 2 s passed", 3.0),  # nearer than before
        (Deadlines(idle_s=1.5), 100, "the idle deadline of 1.5 s passed", 101.5),
        (Deadlines(first_token_s=9, idle_s=1.5), 7, "the idle deadline of 1.5 s passed", 8.5),
        (Deadlines(total_s=4.25, idle_s=1.5), 4, "the total deadline of 4.25 s passed", 4.25),
        (Deadlines(total_s=5.75, idle_s=1.5), 4, "the idle deadline of 1.5 s passed", 5.5),
    ],
)
def test_a_watched_stream_ends_at_its_deadline(
    deadlines: Deadlines, chunks: int, message: str, when: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        clock = Clock(deadlines)
        with Watch(clock) as watch:
            await steps(clock, watch, chunks, 1.0)
            with pytest.raises(DeadlineError, match=f"^{message}$"):
                await steps(clock, watch, 1, 1e6)
        task = asyncio.current_task()
        assert task is not None
        assert (now(), task.cancelling()) == (when, 0)

    virtual_time.run(run(), monkeypatch)


def test_chunks_in_time_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand chunks in ten seconds: a timer before the first of them, one after, and one each 9 s later."""
    timers: list[float] = []
    call_at = VirtualLoop.call_at

    def counted(self: VirtualLoop, when: float, *rest: object, **more: object) -> asyncio.TimerHandle:
        timers.append(round(when - self.time(), 3))
        return call_at(self, when, *rest, **more)  # type: ignore[arg-type]

    async def run() -> None:
        clock = Clock(Deadlines(first_token_s=600, idle_s=9))
        with Watch(clock) as watch:
            monkeypatch.setattr(VirtualLoop, "call_at", counted)
            for _ in range(1000):
                await watch.within(asyncio.sleep(0.01))
                clock.tick()

    virtual_time.run(run(), monkeypatch)
    assert [seconds for seconds in timers if seconds != 0.01] == [9.0, 8.99]


def test_no_timer_is_left_of_a_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of requests they would stay for the minutes of their deadlines."""
    timers: list[asyncio.TimerHandle] = []
    call_at = VirtualLoop.call_at

    def kept(self: VirtualLoop, when: float, *rest: object, **more: object) -> asyncio.TimerHandle:
        timers.append(call_at(self, when, *rest, **more))  # type: ignore[arg-type]
        return timers[-1]

    async def run() -> None:
        clock = Clock(Deadlines(first_token_s=600, idle_s=120))
        with Watch(clock) as watch:
            monkeypatch.setattr(VirtualLoop, "call_at", kept)
            clock.tick()
            await watch.within(soon())
            assert [timer.cancelled() for timer in timers] == [False]
        assert [timer.cancelled() for timer in timers] == [True]

    virtual_time.run(run(), monkeypatch)


def test_a_deadline_that_passes_between_two_steps_ends_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        clock = Clock(Deadlines(idle_s=2))
        with Watch(clock) as watch:
            await steps(clock, watch, 1, 1.0)
            await asyncio.sleep(5)
            with pytest.raises(DeadlineError, match="the idle deadline of 2 s passed"):
                await watch.within(asyncio.Event().wait())
        assert now() == 6.0

    virtual_time.run(run(), monkeypatch)


def test_the_steps_of_a_watch_may_run_in_different_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        clock = Clock(Deadlines(idle_s=2))
        with Watch(clock) as watch:
            for _ in range(3):
                await asyncio.create_task(steps(clock, watch, 1, 1.0))
            with pytest.raises(DeadlineError):
                await asyncio.create_task(watch.within(asyncio.Event().wait()))
        assert now() == 5.0

    virtual_time.run(run(), monkeypatch)


@pytest.mark.parametrize("when", [1.0, 2.0])
def test_a_cancel_is_not_taken_for_a_deadline(when: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one at the same moment: whoever cancels the task waits for that."""

    async def hang() -> None:
        with Watch(Clock(Deadlines(total_s=2))) as watch:
            await watch.within(asyncio.Event().wait())

    async def run() -> bool:
        task = asyncio.create_task(hang())
        asyncio.get_running_loop().call_later(when, task.cancel)
        await asyncio.wait({task})
        return task.cancelled()

    assert virtual_time.run(run(), monkeypatch)


def test_an_error_of_a_watched_step_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails() -> None:
        raise ConnectionError("lost")

    async def run() -> None:
        with Watch(Clock(Deadlines(total_s=9))) as watch:
            await watch.within(fails())

    with pytest.raises(ConnectionError, match="lost"):
        virtual_time.run(run(), monkeypatch)
