from __future__ import annotations

import asyncio

import pytest

from toolkit.engine.runtime.protocol import Event, Request
from toolkit.engine.runtime.stream import Mailbox
from toolkit.engine.runtime.tensorrt_llm.gauges import Report
from toolkit.engine.runtime.tensorrt_llm.ledger import Ledger
from toolkit.engine.runtime.tensorrt_llm.outputs import Deltas
from toolkit.engine.runtime.tensorrt_llm.requests import Job
from toolkit.errors import EngineDeadError, EngineError


def job(name: str) -> Job:
    async def make() -> Job:
        return Job(Request(name, (1, 2)), None, Mailbox(), Deltas(frozenset(), None))

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("live", "queued", "running", "waiting"),
    [(0, 5, 0, 0), (3, 0, 3, 0), (3, 1, 2, 1), (3, 9, 0, 3), (6, 0, 4, 2), (6, 3, 3, 3)],
)
def test_requests_wait_for_slots_or_for_what_the_runtime_says(
    live: int, queued: int, running: int, waiting: int
) -> None:
    ledger = Ledger(slots=4)
    for number in range(live):
        ledger.add(job(f"r{number}"))
    stats = ledger.stats(Report(steps=7, queued=queued, kv_tokens=64, kv_capacity=128, extra={"x": 1.0}))
    assert (stats.running, stats.waiting, stats.slots) == (running, waiting, 4)
    assert (stats.steps, stats.kv_tokens, stats.kv_capacity, stats.extra) == (7, 64, 128, {"x": 1.0})


def test_one_last_word() -> None:
    ledger, one = Ledger(slots=4), job("a")
    ledger.add(one)
    assert ledger.retire(one, cancelled=1)
    assert not ledger.retire(one, failed=1)
    assert not ledger.record(one, Event((5,), 10))
    ledger.add(other := job("a"))
    assert not ledger.holds(one)
    assert ledger.holds(other)
    assert ledger.record(other, Event((5,), 10))
    assert ledger.record(other, Event((6, 7), 11, (), "length"))
    stats = ledger.stats(Report())
    assert (stats.cancelled, stats.failed, stats.finished) == (1, 0, 1)
    assert (stats.prompt_tokens, stats.generated_tokens, stats.running) == (2, 3, 0)


def test_the_first_end_is_the_reason() -> None:
    ledger = Ledger(slots=4)
    ledger.end(EngineDeadError("the engine died: of this"))
    ledger.end(EngineError("the engine was closed"))
    with pytest.raises(EngineDeadError, match=r"^the engine died: of this$"):
        ledger.add(job("a"))
