"""The runtime's iteration statistics as gauges.

``get_stats_async`` yields a dict an iteration: ``iter``, ``iterLatencyMS``, ``numActiveRequests``,
``numQueuedRequests``, ``gpuMemUsage``, ``kvCacheStats`` with ``usedNumBlocks``, ``maxNumBlocks`` and
``tokensPerBlock``, ``inflightBatchingStats`` and more, which differs by release. Sections may be null.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.engine.runtime.tensorrt_llm.words import one_line

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


class Gauges:
    """The newest report, read from ``llm`` once in ``every_s`` seconds on the loop that its requests are made on."""

    def __init__(self, llm: Any, every_s: float) -> None:
        self.report = Report()
        self._llm = llm
        self._every_s = every_s

    async def follow(self, asked: Callable[[], bool]) -> None:
        """Runs until it is cancelled or the runtime has none; there is nothing to read before the first request."""
        while True:
            await asyncio.sleep(self._every_s)
            if not asked():
                continue
            try:
                await self._read()
            except Exception as error:  # of any kind: gauges must not end what they watch
                loop = asyncio.get_running_loop()
                loop.call_exception_handler({"message": f"TensorRT-LLM gives no statistics: {one_line(error)}"})
                return

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._every_s
        newest = None
        async for stats in self._llm.get_stats_async(timeout=self._every_s / 10):
            newest = stats
            if loop.time() > until:
                break
        if newest is not None:
            self.report = Report.of(newest)
