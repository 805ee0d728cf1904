"""An engine that follows the protocol with arithmetic for a model, and a bundle for it.

Token ids 0 … 255 are bytes and 256 is a special token. A prompt's completion is the prompt's last byte counted upward
through the alphabet: "b" gives "cdefg…". All of a prompt but its last byte counts as cached. What else happens is asked
for with the prompt's first byte:

    h  hold: one token, then nothing until the request is cancelled
    d  die: the engine ends with an ``EngineError``, now and for every later request
    f  fail: one token, then an ``EngineError`` of this request alone
    x  an exception that is no ``TrtkitError``
    é  the completion is "é", whose two bytes are two tokens, again and again
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from toolkit.checkpoint.files import sha256_file
from toolkit.engine.bundle import MANIFEST, SCHEMA_VERSION, Bundle
from toolkit.engine.runtime.protocol import Event, FinishReason, Request, Stats, TokenLogprob
from toolkit.errors import EngineDeadError, EngineError, RequestError

FACTORY = "tests.serving.toy:open_engine"
SLOTS = 4
CONTEXT = 64
SPECIAL = 256


class ToyEngine:
    max_seq_len = CONTEXT

    def __init__(self) -> None:
        self._free = SLOTS
        self._turns: dict[str, asyncio.Future[bool]] = {}
        self._cancels: dict[str, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: str | None = None
        self._dead = ""
        self.finished = self.cancelled = 0

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        self._loop = asyncio.get_running_loop()
        self._check(request)
        cancelled = self._cancels[request.request_id] = asyncio.Event()
        has_slot = await self._take_slot(request.request_id)
        try:
            async for event in self._events(request, cancelled):
                yield event
        finally:
            del self._cancels[request.request_id]
            if has_slot:
                self._give_slot()

    def _check(self, request: Request) -> None:
        if self._ended:
            raise EngineDeadError(self._ended)
        if len(request.prompt_ids) >= CONTEXT:
            raise RequestError(f"the prompt has {len(request.prompt_ids)} tokens, the context {CONTEXT}")
        if not request.prompt_ids:
            raise RequestError("the prompt is empty")
        if request.prompt_ids[0] == ord("x"):
            raise ValueError("no such luck")
        if request.prompt_ids[0] == ord("d"):
            self.die()
            self._end(self._dead)
            raise EngineDeadError(self._dead)

    async def _take_slot(self, request_id: str) -> bool:
        """Wait for a slot; False when the request was cancelled meanwhile."""
        if self._free:
            self._free -= 1
            return True
        turn = self._turns[request_id] = asyncio.get_running_loop().create_future()
        return await turn

    def _give_slot(self) -> None:
        if self._turns:
            self._turns.pop(next(iter(self._turns))).set_result(True)
        else:
            self._free += 1

    async def _events(self, request: Request, cancelled: asyncio.Event) -> AsyncIterator[Event]:
        sampling = request.sampling
        token = request.prompt_ids[-1]
        for count in range(1, sampling.max_tokens + 1):
            await asyncio.sleep(0)
            if count == 2 and request.prompt_ids[0] == ord("h"):
                await cancelled.wait()
            if self._ended:
                raise EngineDeadError(self._ended)
            if count == 2 and request.prompt_ids[0] == ord("f"):
                raise EngineError("no KV cache block is free")
            if cancelled.is_set():
                self.cancelled += 1
                yield Event((), time.monotonic_ns(), finish_reason="cancelled")
                return
            token = _next(token)
            stop = token if token in sampling.stop_token_ids else None
            reason: FinishReason | None = "stop" if stop else "length" if count == sampling.max_tokens else None
            self.finished += reason is not None
            cached = len(request.prompt_ids) - 1 if reason else None
            yield Event((token,), time.monotonic_ns(), _logprobs(token, sampling.logprobs), reason, stop, cached)
            if reason:
                return

    def cancel(self, request_id: str) -> None:
        if (event := self._cancels.get(request_id)) is not None:
            event.set()
        if (turn := self._turns.pop(request_id, None)) is not None:
            turn.set_result(False)

    def stats(self) -> Stats:
        if self._dead:
            raise EngineDeadError(self._dead)
        running, waiting = SLOTS - self._free, len(self._turns)
        return Stats(running, waiting, SLOTS, 0, SLOTS * CONTEXT, 0, 0, 0, self.finished, self.cancelled)

    def die(self) -> None:
        """As when no request is there to see it."""
        self._ended = self._dead = "the engine died: out of luck"

    def close(self) -> None:
        self._ended = self._ended or "the engine was closed"
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, self._ended)

    def _end(self, what: str) -> None:
        self._ended = what
        for request_id in tuple(self._cancels):
            self.cancel(request_id)


def _next(token: int) -> int:
    if token in b"\xc3\xa9":
        return 0xA9 if token == 0xC3 else 0xC3
    return ord("a") if token >= ord("z") else token + 1


def _logprobs(token: int, top: int | None) -> tuple[TokenLogprob, ...]:
    if top is None:
        return ()
    return (TokenLogprob(token, -0.5, tuple((token + n, -0.5 - n) for n in range(top))),)


def open_engine(bundle: Bundle) -> ToyEngine:
    return ToyEngine()


def write_bundle(folder: Path, *, stream_interval: int = 1) -> Bundle:
    """A bundle that the toy engine can be opened on: manifest, recipe and a tokenizer whose ids are bytes."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    byte_tokenizer().save(str(checkpoint / "tokenizer.json"))
    (checkpoint / "generation_config.json").write_text('{"eos_token_id": 256}')
    (checkpoint / "config.json").write_text("{}")
    (folder / "recipe.yaml").write_text(
        f"""
name: toy
checkpoint: {{path: checkpoint}}
target: {{runtime: cpu}}
engine: {{output: {folder}, stream_interval: {stream_interval}}}
serve: {{repository: {folder.parent / "repository"}}}
bench: {{output: {folder.parent / "results"}}}
"""
    )
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in folder.rglob("*")
        if path.is_file()
    }
    manifest = {"schema_version": SCHEMA_VERSION, "identity": "toy", "weights": "toy", "files": files}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "source": {}, "verified": {}}))
    return Bundle.open(folder)


def byte_tokenizer() -> tokenizers.Tokenizer:
    shown = {byte: chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256))}
    hidden = (byte for byte in range(256) if byte not in shown)
    vocabulary = shown | {byte: chr(256 + n) for n, byte in enumerate(hidden)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={text: byte for byte, text in vocabulary.items()}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    return tokenizer
