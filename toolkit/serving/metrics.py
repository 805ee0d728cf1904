"""The served model's own metrics on Triton's metrics port.

Triton's built-in ones say little about decoupled models: its duration covers only the hand-over of a request, and a
cancelled request counts as a success.
"""

from __future__ import annotations

from typing import Any, Literal

from toolkit.engine.runtime.protocol import Stats

Outcome = Literal["completed", "cancelled", "failed", "rejected"]
OUTCOMES: tuple[Outcome, ...] = ("completed", "cancelled", "failed", "rejected")


class Metrics:
    """``trtkit_running_requests``, ``trtkit_waiting_requests``, ``trtkit_requests_total``, ``trtkit_tokens_total``."""

    def __init__(self, pb: Any, model: str) -> None:
        """``pb`` is ``triton_python_backend_utils``; every metric carries the label ``model``."""

        def family(name: str, description: str, kind: Any) -> Any:
            return pb.MetricFamily(name=name, description=description, kind=kind)

        gauge, counter = pb.MetricFamily.GAUGE, pb.MetricFamily.COUNTER
        # a family takes its metrics with it when it is collected
        self._families = (
            family("trtkit_running_requests", "Requests in the engine's batch", gauge),
            family("trtkit_waiting_requests", "Requests waiting for a slot", gauge),
            family("trtkit_requests_total", "Requests by how they ended", counter),
            family("trtkit_tokens_total", "Tokens of completed requests", counter),
        )
        running, waiting, requests, tokens = self._families
        self._running = running.Metric(labels={"model": model})
        self._waiting = waiting.Metric(labels={"model": model})
        self._requests = {outcome: requests.Metric(labels={"model": model, "outcome": outcome}) for outcome in OUTCOMES}
        self._tokens = {kind: tokens.Metric(labels={"model": model, "kind": kind}) for kind in ("prompt", "generated")}
        self._shown = (0, 0)

    def show(self, stats: Stats) -> None:
        """Set the gauges; costs nothing while they stay the same."""
        now = (stats.running, stats.waiting)
        if now != self._shown:
            self._running.set(now[0])
            self._waiting.set(now[1])
            self._shown = now

    def count(self, outcome: Outcome, prompt_tokens: int = 0, generated_tokens: int = 0) -> None:
        """Count one request that ended."""
        self._requests[outcome].increment(1)
        self._tokens["prompt"].increment(prompt_tokens)
        self._tokens["generated"].increment(generated_tokens)
