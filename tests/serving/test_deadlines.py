from __future__ import annotations

import asyncio

import pytest

from toolkit.errors import DeadlineError
from toolkit.serving.deadlines import Clock, Deadlines


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
