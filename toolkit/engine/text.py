"""Token events as text: tokenizer, deltas that never split a character, stop strings."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tokenizers

from toolkit.engine.runtime.end_tokens import read_eos_ids
from toolkit.engine.runtime.protocol import Engine, FinishReason, PerfMetrics, Request, TokenLogprob
from toolkit.errors import CheckpointError, RequestError

REPLACEMENT = "�"  # what a byte sequence that is not UTF-8 decodes to
MAX_STOPS = 64
MAX_STOP_LENGTH = 256
"""How many stop strings a request may have, and of how many characters: every piece of text is held against them."""


class Tokenizer:
    """A byte-level BPE from ``tokenizer.json`` and the model's end tokens."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, eos_ids: tuple[int, ...]) -> None:
        self._tokenizer = tokenizer
        self.eos_ids = eos_ids

    @classmethod
    def open(cls, folder: Path) -> Tokenizer:
        """Raises CheckpointError if ``folder`` holds no readable tokenizer.json."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            hint = "Name a folder that has one: --set checkpoint.tokenizer=DIR"
            raise CheckpointError("no tokenizer.json", where=str(folder), hint=hint)
        try:
            text = path.read_text(encoding="utf-8")
            tokenizer = tokenizers.Tokenizer.from_buffer(text.encode())
        except (ValueError, OSError) as error:
            raise CheckpointError(f"not a tokenizer: {error}", where=str(path)) from None
        return cls(tokenizer, read_eos_ids(folder))

    @property
    def plain_ids(self) -> list[int]:
        """The ids of all tokens but the special and other added ones, ascending."""
        added = self._tokenizer.get_added_tokens_decoder().keys()
        return sorted(set(self._tokenizer.get_vocab().values()) - added)

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens written in ``text`` included; nothing is added around it."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))


class Decoder(Protocol):
    """Token ids → text; bytes that are no UTF-8 become ``REPLACEMENT``."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str: ...


class TextStream:
    """Deltas whose sum is the text of all pushed tokens, cut before the first stop string that completes.

    A character is sent once all of its bytes are there; text that may be the start of a stop string waits. Raises
    RequestError for more than ``MAX_STOPS`` stop strings, and for one that is empty or beyond ``MAX_STOP_LENGTH``.
    """

    def __init__(self, tokenizer: Decoder, stop: Sequence[str] = (), skip_special_tokens: bool = True) -> None:
        _check_stop(stop)
        self.stopped: str | None = None
        self._tokenizer = tokenizer
        self._stop = sorted(set(stop))
        self._longest = max(map(len, stop), default=1)
        self._skip_special_tokens = skip_special_tokens
        self._ids: list[int] = []  # since the text last ended with a whole character
        self._taken = 0  # characters of their text that have moved on to ``_held``
        self._held = ""

    def push(self, ids: Sequence[int], *, unwatched: int = 0) -> str:
        """The text that is certain after these tokens; "" once stopped.

        The text of the first ``unwatched`` of them does not count towards a stop string; none may have counted before.
        """
        text = self._decode(ids[:unwatched]) if unwatched else ""
        return text + self._release(self._decode(ids[unwatched:]), final=False) if len(ids) > unwatched else text

    def _decode(self, ids: Sequence[int]) -> str:
        """The whole characters that these tokens add."""
        self._ids.extend(ids)
        text = self._tokenizer.decode(self._ids, self._skip_special_tokens)
        if text.endswith(REPLACEMENT):
            # only the last one can still become a character
            delta, self._taken = text[self._taken : -1], len(text) - 1
        else:
            delta, self._taken = text[self._taken :], 0
            self._ids.clear()
        return delta

    def finish(self) -> str:
        """The rest, when no more tokens will come."""
        text = self._tokenizer.decode(self._ids, self._skip_special_tokens)
        delta, self._taken = text[self._taken :], 0
        self._ids.clear()
        return self._release(delta, final=True)

    def _release(self, delta: str, *, final: bool) -> str:
        if self.stopped is not None:
            return ""
        text, self._held = self._held + delta, ""
        found = [(text.find(stop) + len(stop), -len(stop), stop) for stop in self._stop if stop in text]
        if found:
            end, negative_length, self.stopped = min(found)
            return text[: end + negative_length]
        if not final:
            certain = len(text) - self._possible_start(text)
            text, self._held = text[:certain], text[certain:]
        return text

    def _possible_start(self, text: str) -> int:
        """The length of the longest end of ``text`` that begins a stop string."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            end = text[-length:]
            # in sorted order, what begins with ``end`` follows it at once
            following = bisect_left(self._stop, end)
            if following < len(self._stop) and self._stop[following].startswith(end):
                return length
        return 0


def _check_stop(stop: Sequence[str]) -> None:
    if len(stop) > MAX_STOPS:
        raise RequestError(f"stop has {len(stop)} strings, but may have {MAX_STOPS}")
    for one in stop:
        if not 1 <= len(one) <= MAX_STOP_LENGTH:
            raise RequestError(f"stop has a string of {len(one)} characters, but one has 1 to {MAX_STOP_LENGTH}")


@dataclass(frozen=True, slots=True)
class TextEvent:
    """New text of one request and the tokens of the step behind it; counts are running totals.

    ``stop_reason`` is the stop string, or the end token's id, of a ``stop``. ``time_ns`` is the engine's time of the
    newest token. ``cached_tokens`` and ``perf`` come with the last event: at a stop string they are what the engine has
    said so far.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish_reason: FinishReason | None
    stop_reason: str | int | None
    prompt_tokens: int
    output_tokens: int
    time_ns: int = 0
    cached_tokens: int | None = None
    perf: PerfMetrics | None = None


async def generate_text(
    engine: Engine,
    tokenizer: Tokenizer,
    request: Request,
    stop: Sequence[str] = (),
    *,
    skip_special_tokens: bool = True,
) -> AsyncGenerator[TextEvent, None]:
    """Run ``request`` and yield its text; the last event carries ``finish_reason``.

    The text of the token that ends a request is not part of the text. A stop string cancels the request; the text of
    the first ``min_tokens`` tokens does not count towards one. Raises what ``Engine.submit`` raises, and RequestError
    for stop strings that ``TextStream`` does not take.
    """
    stream = TextStream(tokenizer, stop, skip_special_tokens)
    output_tokens, ended = 0, False
    events = engine.submit(request)
    try:
        async for event in events:
            unwatched = max(0, request.sampling.min_tokens - output_tokens)
            output_tokens += len(event.token_ids)
            spoken = event.token_ids if event.stop_token_id is None else event.token_ids[:-1]
            text = stream.push(spoken, unwatched=unwatched)
            ended = event.finish_reason is not None
            if ended:
                text += stream.finish()
            reason: FinishReason | None = "stop" if stream.stopped is not None else event.finish_reason
            yield TextEvent(
                text,
                event.token_ids,
                event.logprobs,
                reason,
                stream.stopped if stream.stopped is not None else event.stop_token_id,
                len(request.prompt_ids),
                output_tokens,
                event.time_ns,
                None if reason is None else event.cached_tokens,
                None if reason is None else event.perf,
            )
            if reason is not None:
                return
    finally:
        if not ended:
            engine.cancel(request.request_id)
