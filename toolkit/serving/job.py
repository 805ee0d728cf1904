"""One request on its way through the served model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from toolkit.engine.text import TextEvent
from toolkit.serving.inputs import Inputs
from toolkit.serving.reply import Reply


@dataclass(slots=True, eq=False)
class Job:
    """``request_id`` is the engine's, ``client_id`` the client's, which need not be unique and may be empty.

    ``arrived_ns`` is ``time.monotonic_ns()``; times that end in ``_s`` are the answering loop's. ``stopped`` is set
    once the client no longer wants it, ``ended`` once its final response is on the way: nothing may touch ``sender``
    then.
    """

    request_id: str
    client_id: str
    sender: Any
    inputs: Inputs
    arrived_ns: int
    reply: Reply = field(init=False)
    queued: bool = False
    stopped: bool = False
    ended: bool = False
    polled_s: float = 0.0
    sent_s: float = 0.0
    first_token_ns: int | None = None

    def __post_init__(self) -> None:
        self.reply = Reply(self.inputs)


def first_token_ns(event: TextEvent, arrived_ns: int) -> int | None:
    """When the first token of a request was made, by the first event that has one.

    An event that has a whole answer has the time of its last token. There the runtime's own times count, from its
    arrival on; None where it has none.
    """
    if event.finish_reason is None or len(event.token_ids) == 1:
        return event.time_ns
    perf = event.perf
    if perf is None or perf.arrival_ns is None or perf.first_token_ns is None:
        return None
    return arrived_ns + perf.first_token_ns - perf.arrival_ns
