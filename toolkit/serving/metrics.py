"""The served model's own metrics on Triton's metrics port.

Triton's built-in ones say little about decoupled models: their duration covers only the hand-over of a request, and a
cancelled request counts as a success. Every metric has the label ``model``; times are seconds.

| metric | kind | what |
|---|---|---|
| ``trtkit_requests_total`` | counter | requests by ``outcome``: completed, cancelled, failed, rejected |
| ``trtkit_tokens_total`` | counter | tokens of completed requests by ``kind``: prompt, generated, cached (of prompt) |
| ``trtkit_time_to_first_token_seconds`` | histogram | from the request's arrival in the model to its first token |
| ``trtkit_time_per_output_token_seconds`` | histogram | between tokens, the mean of each completed request |
| ``trtkit_queue_seconds`` | histogram | waited for a slot, of completed requests, where the runtime says so |
| ``trtkit_running_requests`` | gauge | requests in the engine's batch |
| ``trtkit_waiting_requests`` | gauge | requests waiting for a slot |
| ``trtkit_kv_use_ratio`` | gauge | tokens in the KV cache over those that fit, 0 to 1; where the runtime says so |
| ``trtkit_runtime_*`` | gauge | the runtime's own gauges (``Stats.extra``) |

``python_backend`` has had histograms since its pull request 374 of August 2024. Every update is a round trip to the
server, of about 50 µs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from toolkit.engine.runtime.protocol import PerfMetrics, Stats
from toolkit.engine.text import TextEvent

Outcome = Literal["completed", "cancelled", "failed", "rejected"]
OUTCOMES: tuple[Outcome, ...] = ("completed", "cancelled", "failed", "rejected")
KINDS = ("prompt", "generated", "cached")

FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)
PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.4, 1.0, 2.5)
QUEUE_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the histograms' buckets."""


class Metrics:
    """The families of the table above, for one model; not thread-safe but for ``count``."""

    def __init__(self, pb: Any, model: str) -> None:
        """``pb`` is ``triton_python_backend_utils``."""
        self._refusal, self._log = pb.TritonModelException, pb.Logger.log_error
        self._kinds = pb.MetricFamily
        self._labels = {"model": model}
        # a family takes its metrics with it when it is collected
        self._families: list[Any] = []
        requests = self._family("trtkit_requests_total", "Requests by how they ended", self._kinds.COUNTER)
        tokens = self._family("trtkit_tokens_total", "Tokens of completed requests", self._kinds.COUNTER)
        self._requests = {outcome: requests.Metric(labels={**self._labels, "outcome": outcome}) for outcome in OUTCOMES}
        self._tokens = {kind: tokens.Metric(labels={**self._labels, "kind": kind}) for kind in KINDS}
        self._first_token = self._histogram("time_to_first_token", "Arrival to first token", FIRST_TOKEN_S)
        self._per_token = self._histogram("time_per_output_token", "Mean time between tokens", PER_TOKEN_S)
        self._queue = self._histogram("queue", "Wait for a slot", QUEUE_S)
        self._gauges: dict[str, Any] = {}
        self._shown: dict[str, float] = {}

    def count(self, outcome: Outcome) -> None:
        """Count one request that ended."""
        self._update(self._requests[outcome].increment, 1)

    def first_token(self, seconds: float) -> None:
        """Observe the time from a request's arrival to its first token."""
        self._update(self._first_token.observe, max(0.0, seconds))

    def completed(self, last: TextEvent) -> None:
        """Add what the last event of a request says."""
        counts = (last.prompt_tokens, last.output_tokens, last.cached_tokens or 0)
        for kind, count in zip(KINDS, counts, strict=True):
            if count:
                self._update(self._tokens[kind].increment, count)
        perf = last.perf or PerfMetrics()
        if (decoding := _seconds(perf.first_token_ns, perf.last_token_ns)) is not None and last.output_tokens > 1:
            self._update(self._per_token.observe, decoding / (last.output_tokens - 1))
        if (waited := _seconds(perf.arrival_ns, perf.first_scheduled_ns)) is not None:
            self._update(self._queue.observe, waited)

    def show(self, stats: Stats) -> None:
        """Set the gauges; costs nothing while they stay the same."""
        now: dict[str, float] = {"running_requests": stats.running, "waiting_requests": stats.waiting}
        if stats.kv_capacity:
            now["kv_use_ratio"] = stats.kv_tokens / stats.kv_capacity
        now |= {f"runtime_{name}": value for name, value in stats.extra.items()}
        for name, value in now.items():
            if self._shown.get(name) != value:
                self._update(self._gauge(name).set, value)
                self._shown[name] = value

    def _update(self, update: Callable[[float], None], value: float) -> None:
        """What Triton does not take must not keep a request from its final response."""
        try:
            update(value)
        except self._refusal as error:
            self._log(f"trtkit: a metric was not updated: {error}")

    def _family(self, name: str, description: str, kind: Any) -> Any:
        family = self._kinds(name=name, description=description, kind=kind)
        self._families.append(family)
        return family

    def _histogram(self, name: str, description: str, bounds: tuple[float, ...]) -> Any:
        family = self._family(f"trtkit_{name}_seconds", f"{description}, seconds", self._kinds.HISTOGRAM)
        return family.Metric(labels=self._labels, buckets=list(bounds))

    def _gauge(self, name: str) -> Any:
        if name not in self._gauges:
            family = self._family(f"trtkit_{name}", GAUGES.get(name, "Gauge of the runtime"), self._kinds.GAUGE)
            self._gauges[name] = family.Metric(labels=self._labels)
        return self._gauges[name]


GAUGES = {
    "running_requests": "Requests in the engine's batch",
    "waiting_requests": "Requests waiting for a slot",
    "kv_use_ratio": "Tokens in the KV cache over those that fit",
}


def _seconds(begin_ns: int | None, end_ns: int | None) -> float | None:
    return None if begin_ns is None or end_ns is None else max(0, end_ns - begin_ns) / 1e9
