"""An engine that says what its bundle's ``script.json`` says, whatever it is asked, and a bundle for gpt-oss's ids.

``script.json`` is a list of answers, each a list of token ids; each request gets the next one, and after the last the
first again; a prompt of one token is a probe. A script that is not ended by a stop token of the request goes on with
its last token for ever.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.chat import o200k
from tests.serving import toy
from toolkit.engine.bundle import MANIFEST, Bundle
from toolkit.engine.runtime.protocol import Event, FinishReason, Request, Stats

FACTORY = "tests.chat.scripted:open_engine"
CONTEXT = 4096


class ScriptedEngine:
    max_seq_len = CONTEXT

    def __init__(self, answers: list[list[int]]) -> None:
        self._answers = answers
        self._cancelled: dict[str, bool] = {}
        self.prompts: list[tuple[int, ...]] = []
        self.cancelled = 0

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        answer = [0]
        if len(request.prompt_ids) > 1:
            answer = self._answers[len(self.prompts) % len(self._answers)]
            self.prompts.append(request.prompt_ids)
        self._cancelled[request.request_id] = False
        for count in range(request.sampling.max_tokens):
            await asyncio.sleep(0)
            if self._cancelled[request.request_id]:
                self.cancelled += 1
                yield Event((), time.monotonic_ns(), finish_reason="cancelled")
                return
            token = answer[min(count, len(answer) - 1)]
            stop = token if token in request.sampling.stop_token_ids else None
            last = count == request.sampling.max_tokens - 1
            reason: FinishReason | None = "stop" if stop is not None else "length" if last else None
            yield Event((token,), time.monotonic_ns(), (), reason, stop)
            if reason is not None:
                return

    def cancel(self, request_id: str) -> None:
        self._cancelled[request_id] = True

    def stats(self) -> Stats:
        return Stats(0, 0, 1, 0, CONTEXT, 0, 0, 0, len(self.prompts) - self.cancelled, self.cancelled)

    def close(self) -> None:
        for request_id in self._cancelled:
            self.cancel(request_id)


def open_engine(bundle: Bundle) -> ScriptedEngine:
    return ScriptedEngine(json.loads((bundle.checkpoint_dir / "script.json").read_text()))


def write_bundle(folder: Path, answers: list[list[int]]) -> Bundle:
    """A bundle whose tokenizer is gpt-oss's and whose engine says ``answers``."""
    bundle = toy.write_bundle(folder)
    o200k.write_tokenizer(bundle.checkpoint_dir)
    (bundle.checkpoint_dir / "script.json").write_text(json.dumps(answers))
    (bundle.checkpoint_dir / "generation_config.json").write_text('{"eos_token_id": [200002, 199999, 200012]}')
    manifest = json.loads((folder / MANIFEST).read_text())
    for name, entry in manifest["files"].items():
        entry["size"] = (folder / name).stat().st_size
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return Bundle.open(folder)
