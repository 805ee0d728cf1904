from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.engine.text import TextEvent
from toolkit.serving.coalescer import MAX_WAIT_S, PACE_S, Coalescer
from toolkit.serving.inputs import Inputs
from toolkit.serving.job import Job
from toolkit.serving.reply import Reply

Sent = list[tuple[str, str]]


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock moves only when a test says so; waits end as soon as it has."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def time(self) -> float:
        return self.now


def job(interval: int = 1, *, streaming: bool = True) -> Job:
    made = Job("1", "", None, Inputs("a", None, SamplingParams(), streaming, echo=False), 0)
    made.reply = Reply(made.inputs, interval=interval)
    return made


class Line:
    """A coalescer on the running loop, and what left through it as (name, text)."""

    def __init__(self, jobs: dict[str, Job], **options: Any) -> None:
        names = {made: name for name, made in jobs.items()}
        self.sent: Sent = []
        self.jobs = jobs
        self.loop = asyncio.get_running_loop()
        self.coalescer = Coalescer(
            self.loop,
            lambda made: self.sent.append((names[made], made.reply.take()["text_output"][0].decode())),
            **options,
        )

    def add(self, name: str, text: str) -> None:
        self.jobs[name].reply.add(TextEvent(text, (1,) * len(text), (), None, None, 1, 1))
        self.coalescer.offer(self.jobs[name])

    async def later(self, seconds: float) -> None:
        assert isinstance(self.loop, SteppedLoop)
        self.loop.now += seconds + 1e-6
        for _ in range(3):
            await asyncio.sleep(0)


def run(test: Callable[[], Coroutine[Any, Any, Sent]]) -> Sent:
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        return runner.run(test())


def test_below_the_pace_each_token_leaves_at_once() -> None:
    async def one_stream() -> Sent:
        line = Line({"x": job()})
        for text in "abc":
            line.add("x", text)
            await line.later(PACE_S)
        return line.sent

    assert run(one_stream) == [("x", "a"), ("x", "b"), ("x", "c")]


def test_beyond_the_pace_responses_grow_and_streams_take_turns() -> None:
    async def two_streams() -> Sent:
        line = Line({"x": job(), "y": job()})
        for text in "abcdefg":
            line.add("x", text)
            line.add("y", text)
            await line.later(PACE_S)
        return line.sent

    sent = run(two_streams)
    assert sent == [("x", "a"), ("y", "a"), ("x", "b"), ("y", "bc"), ("x", "cd"), ("y", "de"), ("x", "ef"), ("y", "fg")]


def test_first_tokens_do_not_stand_in_line() -> None:
    async def new_stream() -> Sent:
        line = Line({"x": job(), "new": job()})
        line.add("x", "a")
        line.add("x", "b")
        line.add("new", "a")
        return list(line.sent)

    assert run(new_stream) == [("x", "a"), ("new", "a")]


def test_a_long_line_moves_faster() -> None:
    count = int(4 * MAX_WAIT_S / PACE_S)

    async def many_streams() -> Sent:
        line = Line({str(number): job() for number in range(count)})
        for text in "ab":
            for name in line.jobs:
                line.add(name, text)
        moves = 0
        while len(line.sent) < 2 * count:
            await line.later(PACE_S)
            moves += 1
        # it is shorter at each move: the harmonic sum of 4, not 4 times the wait
        assert moves * PACE_S < 2.5 * MAX_WAIT_S
        return line.sent[count:]

    assert run(many_streams) == [(str(number), "b") for number in range(count)]


def test_without_coalescing_every_due_response_is_sent() -> None:
    async def two_streams() -> Sent:
        line = Line({"x": job(2), "y": job(2)}, enabled=False)
        for text in "abcde":
            for name in "xy":
                line.add(name, text)
        return line.sent

    assert run(two_streams) == [(name, text) for text in ("a", "bc", "de") for name in "xy"]


def test_tokens_short_of_the_interval_leave_after_the_longest_wait() -> None:
    async def slow_stream() -> Sent:
        line = Line({"x": job(9), "whole": job(9, streaming=False)})
        for text in "ab":
            for name in line.jobs:
                line.add(name, text)
        line.coalescer.sweep(line.jobs.values())
        assert line.sent == [("x", "a")]
        await line.later(MAX_WAIT_S)
        line.coalescer.sweep(line.jobs.values())
        line.coalescer.sweep(line.jobs.values())
        return line.sent

    assert run(slow_stream) == [("x", "a"), ("x", "b")]


def test_a_stream_that_ended_in_line_is_left_alone() -> None:
    async def two_streams() -> Sent:
        line = Line({"x": job(), "y": job()})
        for text in "ab":
            line.add("x", text)
            line.add("y", text)
        line.jobs["x"].ended = True
        await line.later(PACE_S)
        await line.later(PACE_S)
        return line.sent

    assert run(two_streams) == [("x", "a"), ("y", "a"), ("y", "b")]
