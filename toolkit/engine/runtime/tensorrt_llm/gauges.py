"""The runtime's iteration statistics as gauges.

``get_stats_async`` gives an iterator of one dict an iteration: ``iter``, ``iterLatencyMS``, ``numActiveRequests``,
``numQueuedRequests``, ``gpuMemUsage``, ``kvCacheStats`` with ``usedNumBlocks``, ``maxNumBlocks`` and
``tokensPerBlock``, ``inflightBatchingStats`` and more, which differs by release. Sections may be null. The iterator is
made with the first request, and ends when nothing came for a while. (``aget_stats``: executor.py @005bc848, proxy.py
and rpc_proxy.py of 1.2+.)
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from toolkit.engine.runtime.tensorrt_llm.words import one_line

LONGEST_PAUSE = 64
"""At most so many periods lie between two readings, however often reading has failed."""

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class Report:
    """One iteration's figures; all are 0 before the first."""

    steps: int = 0
    queued: int = 0
    kv_tokens: int = 0
    kv_capacity: int = 0
    extra: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> Report:
        kv = stats.get("kvCacheStats") or {}
        block = int(kv.get("tokensPerBlock") or 0)
        return cls(
            steps=int(stats.get("iter") or 0),
            queued=int(stats.get("numQueuedRequests") or 0),
            kv_tokens=block * int(kv.get("usedNumBlocks") or 0),
            kv_capacity=block * int(kv.get("maxNumBlocks") or 0),
            extra=dict(_numbers(stats, "")),
        )


def _numbers(stats: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in stats.items():
        key = prefix + "_".join(WORD.findall(name)).lower()
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{key}_")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value)


def pause_s(every_s: float, failures: int) -> float:
    """Seconds until the next reading after so many failed ones in a row: twice as long with each."""
    return every_s * float(min(LONGEST_PAUSE, 2 ** min(failures, 32)))


class Gauges:
    """The newest report, read in a thread once in ``every_s`` seconds while ``asked`` says that there is one.

    A reading that fails is tried again after ``pause_s``; the event loop's exception handler is told the first time,
    and when the reason changes.

    ``loop`` is the one that requests are made on, to which upstream's iterator belongs. The call that gives the
    iterator does not: since 1.2 it fetches the statistics from the worker, and blocks meanwhile.
    """

    def __init__(self, llm: Any, every_s: float, loop: asyncio.AbstractEventLoop, asked: Callable[[], bool]) -> None:
        self.report = Report()
        self._llm = llm
        self._every_s = every_s
        self._loop = loop
        self._asked = asked
        self._stopped = threading.Event()
        self._reading: Future[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="trtkit-trtllm-stats", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread, before its loop ends."""
        self._stopped.set()
        if self._reading is not None:
            self._reading.cancel()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        failures, said = 0, ""
        while not self._stopped.wait(pause_s(self._every_s, failures)):
            try:
                if self._asked():
                    self._read()
                    failures = 0
            except Exception as error:  # of any kind: gauges must not end what they watch
                if self._stopped.is_set():
                    return
                failures += 1
                if (reason := one_line(error)) != said:
                    said = reason
                    self._loop.call_exception_handler({"message": f"TensorRT-LLM gives no statistics: {reason}"})

    def _read(self) -> None:
        results = self._llm.get_stats_async(timeout=self._every_s / 10)
        self._reading = asyncio.run_coroutine_threadsafe(self._newest(results), self._loop)
        newest = self._reading.result()
        if newest is not None:
            self.report = Report.of(newest)

    async def _newest(self, results: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
        until = self._loop.time() + self._every_s
        newest = None
        async for stats in results:
            newest = stats
            if self._loop.time() > until:
                break
        return newest
