from __future__ import annotations

import asyncio
from typing import Any

from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.engine.text import TextEvent
from toolkit.serving import coalescer
from toolkit.serving.coalescer import Coalescer
from toolkit.serving.inputs import Inputs
from toolkit.serving.job import Job
from toolkit.serving.reply import Reply


def job(interval: int = 1, *, streaming: bool = True) -> Job:
    made = Job("1", "", None, Inputs("a", None, SamplingParams(), streaming, echo=False), 0)
    made.reply = Reply(made.inputs, interval=interval)
    return made


class Line:
    """A coalescer on the running loop, and what left through it as (name, text)."""

    def __init__(self, jobs: dict[str, Job], **options: Any) -> None:
        names = {made: name for name, made in jobs.items()}
        self.sent: list[tuple[str, str]] = []
        self._jobs = jobs
        self.coalescer = Coalescer(
            asyncio.get_running_loop(),
            lambda made: self.sent.append((names[made], made.reply.take()["text_output"][0].decode())),
            **options,
        )

    def add(self, name: str, text: str) -> None:
        self._jobs[name].reply.add(TextEvent(text, (1,) * len(text), (), None, None, 1, 1))
        self.coalescer.offer(self._jobs[name])

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def test_one_stream_gets_each_token_at_once() -> None:
    async def run() -> list[tuple[str, str]]:
        line = Line({"x": job()})
        for text in "abc":
            line.add("x", text)
            await asyncio.sleep(0)
        return line.sent

    assert asyncio.run(run()) == [("x", "a"), ("x", "b"), ("x", "c")]


def test_what_comes_while_others_are_served_shares_the_next_response() -> None:
    async def run() -> list[tuple[str, str]]:
        line = Line({"x": job(), "y": job(), "z": job()})
        for text in "abcd":
            for name in "xyz":
                line.add(name, text)
            await asyncio.sleep(0)
        await line.settle()
        return line.sent

    sent = asyncio.run(run())
    assert len(sent) < 12
    for name in "xyz":
        assert "".join(text for of, text in sent if of == name) == "abcd"


def test_first_tokens_go_before_later_ones() -> None:
    async def run() -> list[tuple[str, str]]:
        line = Line({"x": job(), "y": job(), "new": job()})
        for name in "xy":
            line.add(name, "a")
        await line.settle()
        for name in ("x", "y", "new"):
            line.add(name, "b")
        await line.settle()
        return line.sent[2:]

    assert asyncio.run(run()) == [("new", "b"), ("x", "b"), ("y", "b")]


def test_without_coalescing_every_due_response_is_sent() -> None:
    async def run() -> list[tuple[str, str]]:
        line = Line({"x": job(2), "y": job(2)}, enabled=False)
        for text in "abcde":
            for name in "xy":
                line.add(name, text)
        return line.sent

    assert asyncio.run(run()) == [(name, text) for text in ("a", "bc", "de") for name in "xy"]


def test_tokens_short_of_the_interval_leave_after_the_longest_wait() -> None:
    async def run() -> list[list[tuple[str, str]]]:
        jobs = {"x": job(9), "silent": job(9, streaming=False)}
        line, states = Line(jobs), []
        for text in "ab":
            for name in jobs:
                line.add(name, text)
            await line.settle()
        line.coalescer.sweep(jobs.values())
        await line.settle()
        states.append(list(line.sent))
        jobs["x"].sent_s -= coalescer.MAX_WAIT_S
        jobs["silent"].sent_s -= coalescer.MAX_WAIT_S
        line.coalescer.sweep(jobs.values())
        line.coalescer.sweep(jobs.values())
        await line.settle()
        return [*states, line.sent]

    assert asyncio.run(run()) == [[("x", "a")], [("x", "a"), ("x", "b")]]


def test_a_stream_that_ended_in_line_is_left_alone() -> None:
    async def run() -> list[tuple[str, str]]:
        jobs = {"x": job(), "y": job()}
        line = Line(jobs)
        line.add("x", "a")
        line.add("y", "a")
        jobs["x"].ended = True
        await line.settle()
        return line.sent

    assert asyncio.run(run()) == [("y", "a")]
