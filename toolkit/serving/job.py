"""One request on its way through the served model."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from toolkit.engine.runtime.protocol import PerfMetrics
from toolkit.engine.text import TextEvent
from toolkit.errors import RequestError
from toolkit.serving.inputs import Inputs, parse
from toolkit.serving.reply import Reply
from toolkit.serving.tensors import INPUTS

INPUT_NAMES = tuple(name for spec in INPUTS for name in spec.names)


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


def receive(request: Any, sender: Any, number: int, *, max_seq_len: int) -> Job:
    """Read and check a Triton request, the ``number``-th, for a model with that context. Raises ``RequestError``."""
    arrived_ns = time.monotonic_ns()
    for name in json.loads(request.parameters() or "{}"):
        near = get_close_matches(name, INPUT_NAMES, n=1)
        hint = f"Send {near[0]!r} as an input tensor" if near else None
        raise RequestError(f"unknown request parameter {name!r}", hint=hint)
    inputs = parse({tensor.name(): tensor.as_numpy() for tensor in request.inputs()}, max_seq_len=max_seq_len)
    client_id = request.request_id()
    if inputs.cancel and not client_id:
        raise RequestError("input 'stop' needs a request id: send that of the request to stop")
    return Job(f"{client_id}#{number}", client_id, sender, inputs, arrived_ns)


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


def measured(last: TextEvent, job: Job) -> TextEvent:
    """The last event with what was seen here, where the runtime has no times of the first and the last token.

    That is also where a stop string ended the request before the runtime did.
    """
    perf = last.perf or PerfMetrics(arrival_ns=job.arrived_ns)
    if perf.first_token_ns is None or perf.last_token_ns is None:
        perf = replace(perf, first_token_ns=job.first_token_ns, last_token_ns=last.time_ns)
    return replace(last, perf=perf)
