from __future__ import annotations

import asyncio

import pytest

from toolkit.bench import watch
from toolkit.bench.watch import unwatched, while_alive
from toolkit.errors import ClientError, ServerError


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "CHECK_S", 0.001)


def test_the_result_of_work_beside_a_living_server() -> None:
    checks: list[str] = []

    async def work() -> int:
        while len(checks) < 3:
            await asyncio.sleep(0)
        return 7

    assert asyncio.run(while_alive(work(), lambda: checks.append("alive"))) == 7
    assert asyncio.run(while_alive(asyncio.sleep(0, 8), unwatched("elsewhere:1").check)) == 8


def test_an_error_of_the_work_is_its_own() -> None:
    async def work() -> None:
        raise ClientError("refused")

    with pytest.raises(ClientError, match="refused"):
        asyncio.run(while_alive(work(), lambda: None))


def test_a_death_cancels_the_work_and_waits_for_its_end() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    def check() -> None:
        if steps:
            raise ServerError("died")

    async def run() -> None:
        with pytest.raises(ServerError, match="died"):
            await while_alive(work(), check)
        assert steps == ["began", "ended"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_cancel_from_outside_reaches_the_work() -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            steps.append("began")
            await asyncio.Event().wait()
        finally:
            steps.append("ended")

    async def run() -> None:
        outer = asyncio.create_task(while_alive(work(), lambda: None))
        while not steps:
            await asyncio.sleep(0)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer

    asyncio.run(run())
    assert steps == ["began", "ended"]
