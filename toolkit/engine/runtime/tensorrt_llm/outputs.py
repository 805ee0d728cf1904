"""Upstream's cumulative outputs as the protocol's events.

``outputs[0].token_ids`` and ``.logprobs`` grow with every response, by any number of tokens (``stream_interval``,
speculative decoding). A log probability is a dict token → ``Logprob(logprob, rank)``, or a float where the sampler
gives only the chosen token's (``TokenLogprobs | List[float]``, result.py of 1.2). A finish by ``end_id`` has no
``stop_reason``; one by a stop token names it. Times in ``request_perf_metrics`` are timedeltas of the steady clock,
which is ``time.monotonic`` on Linux, and 0 while unknown. ``cached_tokens`` is there since 1.2. Both come with every
response (``LlmRequest::createResult``, llmRequest.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from toolkit.engine.runtime.protocol import Event, FinishReason, PerfMetrics, TokenLogprob
from toolkit.engine.runtime.tensorrt_llm.words import one_line
from toolkit.errors import EngineError

NOTHING: Mapping[int, Any] = {}
REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class Deltas:
    """What is new in each response of one request. ``top`` is how many likely tokens the request asked for."""

    def __init__(self, ends: frozenset[int], top: int | None) -> None:
        self._ends = ends
        self._top = top
        self._sent = 0

    def take(self, result: Any, time_ns: int) -> Event | None:
        """The event of a response, None for one without news. Raises EngineError for an end that is no answer."""
        output = result.outputs[0]
        tokens = tuple(output.token_ids[self._sent :])
        logprobs = self._logprobs(output, tokens)
        self._sent += len(tokens)
        cached = getattr(result, "cached_tokens", None)
        perf = perf_metrics(getattr(output, "request_perf_metrics", None))
        if not result.finished:
            return Event(tokens, time_ns, logprobs, cached_tokens=cached, perf=perf) if tokens else None
        reason = REASONS.get(output.finish_reason or "")
        if reason is None:
            raise EngineError(f"TensorRT-LLM ended the request with {one_line(str(output.finish_reason))!r}")
        return Event(
            tokens,
            time_ns,
            logprobs,
            reason,
            self._stop_token(output) if reason == "stop" else None,
            cached,
            perf,
        )

    def _stop_token(self, output: Any) -> int | None:
        if isinstance(output.stop_reason, int):
            return output.stop_reason
        last = output.token_ids[-1] if output.token_ids else None
        # the C++ sampler drops the end token; then nothing must be taken off the text
        return last if last in self._ends else None

    def _logprobs(self, output: Any, tokens: tuple[int, ...]) -> tuple[TokenLogprob, ...]:
        """One a token, whatever the runtime gives: who asked counts on it."""
        if self._top is None:
            return ()
        given = (output.logprobs or ())[self._sent : self._sent + len(tokens)]
        entries = [*given, *[NOTHING] * (len(tokens) - len(given))]
        return tuple(_logprob(token, entry, self._top) for token, entry in zip(tokens, entries, strict=True))


def _logprob(token: int, entry: Any, top: int) -> TokenLogprob:
    if not isinstance(entry, Mapping):
        return TokenLogprob(token, float(entry))
    values: dict[int, float] = {other: value.logprob for other, value in entry.items()}
    best = sorted(values.items(), key=lambda item: -item[1])[:top]
    # a release that lists only the most likely tokens says nothing of another one
    return TokenLogprob(token, values.get(token, math.nan), tuple(best))


def perf_metrics(metrics: Any) -> PerfMetrics | None:
    """``RequestPerfMetrics`` in the protocol's terms."""
    if metrics is None:
        return None
    times, kv, draft = (
        getattr(metrics, part, None) for part in ("timing_metrics", "kv_cache_metrics", "speculative_decoding")
    )
    return PerfMetrics(
        arrival_ns=_ns(times, "arrival_time"),
        first_scheduled_ns=_ns(times, "first_scheduled_time"),
        first_token_ns=_ns(times, "first_token_time"),
        last_token_ns=_ns(times, "last_token_time"),
        kv_reused_blocks=getattr(kv, "num_reused_blocks", None),
        kv_missed_blocks=getattr(kv, "num_missed_blocks", None),
        kv_new_blocks=getattr(kv, "num_new_allocated_blocks", None),
        kv_total_blocks=getattr(kv, "num_total_allocated_blocks", None),
        kv_hit_rate=getattr(kv, "kv_cache_hit_rate", None),
        acceptance_rate=getattr(draft, "acceptance_rate", None),
        accepted_draft_tokens=getattr(draft, "total_accepted_draft_tokens", None),
        draft_tokens=getattr(draft, "total_draft_tokens", None),
    )


def _ns(times: Any, name: str) -> int | None:
    value: timedelta | None = getattr(times, name, None)
    return value // timedelta(microseconds=1) * 1000 if value else None
