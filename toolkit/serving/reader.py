"""The messages of one stream → chunks, whichever contract the model follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from typing import Any

from toolkit.engine.text import REPLACEMENT
from toolkit.errors import ClientError
from toolkit.serving import wire
from toolkit.serving.contract import Contract
from toolkit.serving.wire import Chunk


class Deltas:
    """Cumulative text → deltas.

    An incomplete character stands at the end as U+FFFD until its bytes are there, so that is held back. Where a model
    rewrites what it has sent, the new text follows from the point at which it differs: nothing can be called back.
    """

    def __init__(self) -> None:
        self._text = ""
        self._sent = ""

    def push(self, text: str) -> str:
        """What is new and certain in ``text``, which is all text so far."""
        self._text = text
        return self._advance(text.rstrip(REPLACEMENT))

    def finish(self) -> str:
        """The rest, when no more text will come."""
        return self._advance(self._text)

    def _advance(self, text: str) -> str:
        begin = len(self._sent) if text.startswith(self._sent) else _differ(text, self._sent)
        if begin == len(text):  # shorter than before: what was cut may come again
            return ""
        self._sent = text
        return text[begin:]


def _differ(one: str, other: str) -> int:
    """How many characters both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class Reader:
    """Turns the messages of one generation into ``Chunk``s; its end with OK is the completion."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._deltas = Deltas() if contract.cumulative else None
        self._output_tokens = 0
        self._last: Chunk | None = None
        self._finished = False

    def read(self, message: Any, received_ns: int) -> Chunk:
        """The chunk in a ``ModelStreamInferResponse``. Raises what ``wire.decode`` raises."""
        chunk = wire.decode(message, received_ns)
        if self._contract.kind != "trtkit":
            chunk = self._foreign(chunk)
        if self._deltas is not None:
            text = self._deltas.push(chunk.text)
            ended = chunk.finish_reason is not None
            chunk = replace(chunk, text=text + self._deltas.finish() if ended else text)
        self._finished = self._finished or chunk.finish_reason is not None
        self._last = chunk
        return chunk

    def finish(self, received_ns: int) -> Iterator[Chunk]:
        """What is left at the stream's end. Raises ``ClientError`` when ours ends without a finish reason."""
        if self._contract.kind == "trtkit" and not self._finished:
            raise ClientError("the stream ended before the generation did")
        rest = self._deltas.finish() if self._deltas is not None else ""
        if rest or self._last is None:
            last = self._last or Chunk("", (), received_ns)
            yield replace(last, text=rest, token_ids=(), logprobs=(), received_ns=received_ns)

    def _foreign(self, chunk: Chunk) -> Chunk:
        """llmapi sends ``str(None)`` for a reason that is not there; an ensemble counts the tokens of each response."""
        if self._contract.kind == "ensemble" and chunk.output_tokens is not None:
            self._output_tokens += chunk.output_tokens
            return replace(chunk, output_tokens=self._output_tokens)
        reasons = (None if reason == "None" else reason for reason in (chunk.finish_reason, chunk.stop_reason))
        finish_reason, stop_reason = reasons
        return replace(chunk, finish_reason=finish_reason, stop_reason=stop_reason)
