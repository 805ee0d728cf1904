"""One request on its way through the runtime."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from toolkit.engine.runtime.protocol import Request
from toolkit.engine.runtime.stream import Mailbox
from toolkit.engine.runtime.tensorrt_llm.outputs import Deltas

ANY_TOKEN = 2**31 - 1
"""The vocabulary's size where the checkpoint's config.json does not say it."""


@dataclass(eq=False, slots=True)
class Job:
    """A live request. ``params`` is upstream's; ``result`` is its RequestOutput once it has been taken."""

    request: Request
    params: Any
    mailbox: Mailbox
    deltas: Deltas
    result: Any = None
    task: asyncio.Task[None] | None = None
    answered: bool = False
