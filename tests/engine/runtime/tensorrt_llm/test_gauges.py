from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from toolkit.engine.runtime.tensorrt_llm.gauges import Gauges, Report, pause_s


def test_a_report() -> None:
    stats = {
        "iter": 154,
        "iterLatencyMS": 7.0,
        "timestamp": "11-24-2026",
        "numQueuedRequests": 2,
        "kvCacheStats": {"usedNumBlocks": 3, "maxNumBlocks": 10, "tokensPerBlock": 32, "cacheHitRate": 0.25},
        "specDecodingStats": None,
        "requestStats": [{"id": 1}],
        "paused": True,
    }
    assert Report.of(stats) == Report(
        steps=154,
        queued=2,
        kv_tokens=96,
        kv_capacity=320,
        extra={
            "iter": 154.0,
            "iter_latency_ms": 7.0,
            "num_queued_requests": 2.0,
            "kv_cache_stats_used_num_blocks": 3.0,
            "kv_cache_stats_max_num_blocks": 10.0,
            "kv_cache_stats_tokens_per_block": 32.0,
            "kv_cache_stats_cache_hit_rate": 0.25,
        },
    )


@pytest.mark.parametrize("stats", [{}, {"kvCacheStats": None, "iter": None}])
def test_a_report_without_figures(stats: dict[str, Any]) -> None:
    assert Report.of(stats) == Report()


class Runtime:
    """Gives statistics without end, or an error, or blocks until ``go``."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked = 0
        self.go = threading.Event()
        self.go.set()

    def get_stats_async(self, timeout: float) -> AsyncIterator[dict[str, Any]]:
        self.asked += 1
        self.go.wait()
        return self._stats()

    async def _stats(self) -> AsyncIterator[dict[str, Any]]:
        if self.error is not None:
            raise self.error
        for number in itertools.count(1):
            await asyncio.sleep(0)
            yield {"iter": number}


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0)


def test_reading_ends_though_statistics_do_not() -> None:
    runtime = Runtime()

    async def run() -> int:
        gauges = Gauges(runtime, 0.005, asyncio.get_running_loop(), lambda: True)
        await until(lambda: runtime.asked >= 3)
        await asyncio.to_thread(gauges.stop, 20)
        return gauges.report.steps

    assert asyncio.run(run()) > 0


def test_a_runtime_that_keeps_its_caller_waiting_holds_up_nothing_else() -> None:
    runtime = Runtime()
    runtime.go.clear()

    async def run() -> None:
        gauges = Gauges(runtime, 0.001, asyncio.get_running_loop(), lambda: True)
        await until(lambda: runtime.asked == 1)
        await asyncio.sleep(0)
        assert gauges.report == Report()
        runtime.go.set()
        await until(lambda: gauges.report.steps > 0)
        await asyncio.to_thread(gauges.stop, 20)

    asyncio.run(run())


def test_nothing_is_read_before_there_is_a_request() -> None:
    runtime = Runtime()
    looks: list[bool] = []

    async def run() -> None:
        gauges = Gauges(runtime, 0.001, asyncio.get_running_loop(), lambda: bool(looks.append(True)))
        await until(lambda: len(looks) >= 3)
        await asyncio.to_thread(gauges.stop, 20)

    asyncio.run(run())
    assert runtime.asked == 0


def test_statistics_that_fail_are_asked_for_again_and_said_once() -> None:
    runtime = Runtime(RuntimeError("not\nhere"))
    said: list[str] = []

    async def run() -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: said.append(context["message"]))
        gauges = Gauges(runtime, 0.001, loop, lambda: True)
        await until(lambda: runtime.asked >= 3)
        assert (said, gauges.report) == (["TensorRT-LLM gives no statistics: not"], Report())
        runtime.error = ValueError("nor here")
        await until(lambda: len(said) == 2)
        runtime.error = None
        await until(lambda: gauges.report != Report())
        await asyncio.to_thread(gauges.stop, 20)
        return gauges.report.steps

    assert asyncio.run(run()) >= 1
    assert said == ["TensorRT-LLM gives no statistics: not", "TensorRT-LLM gives no statistics: nor here"]


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause_s(0.5, failures) for failures in (0, 1, 2, 5, 6, 7, 10**9)] == [0.5, 1, 2, 16, 32, 32, 32]
