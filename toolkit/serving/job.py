"""One request on its way through the served model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from toolkit.serving.inputs import Inputs
from toolkit.serving.reply import Reply


@dataclass(slots=True, eq=False)
class Job:
    """``request_id`` is the engine's, ``client_id`` the client's, which need not be unique and may be empty.

    ``arrived_ns`` is ``time.monotonic_ns()``; times that end in ``_s`` are the answering loop's. ``stopped`` is set
    once the client no longer wants it, or nothing can be sent to it, which ``failure`` says. ``ended`` is set once its
    final response is on the way: nothing may touch ``sender`` then.
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
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.reply = Reply(self.inputs)
