"""One request on its way through the runtime, and what may be asked of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from toolkit.engine.runtime.protocol import Request
from toolkit.engine.runtime.sampling import validate
from toolkit.engine.runtime.stream import Mailbox
from toolkit.engine.runtime.tensorrt_llm.outputs import Deltas
from toolkit.errors import RequestError

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


def check(request: Request, vocab_size: int, max_seq_len: int, eos_ids: tuple[int, ...]) -> None:
    """Raise RequestError, as every adapter does, for a request that no runtime could answer."""
    length = len(request.prompt_ids)
    if not length:
        raise RequestError("the prompt is empty")
    if length >= max_seq_len:
        what = f"the prompt has {length} tokens, but prompt and output share a context of {max_seq_len}"
        raise RequestError(what, hint="Shorten it, or build with a larger engine.max_seq_len")
    if not (min(request.prompt_ids) >= 0 and max(request.prompt_ids) < vocab_size):
        outside = next(token for token in request.prompt_ids if not 0 <= token < vocab_size)
        raise RequestError(f"prompt token {outside} is outside the vocabulary of {vocab_size}")
    validate(request.sampling, vocab_size, eos_ids)
