from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.serving import toy
from toolkit.engine.runtime.protocol import SamplingParams, TokenLogprob
from toolkit.engine.text import Tokenizer
from toolkit.errors import DeadlineError, EngineError, RequestError
from toolkit.serving.completion import collect
from toolkit.serving.deadlines import Deadlines
from toolkit.serving.local import LocalModel
from toolkit.serving.wire import Chunk


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer.open(toy.write_bundle(tmp_path / "bundle").tokenizer_dir)


def test_chunks(tokenizer: Tokenizer) -> None:
    async def run() -> list[Chunk]:
        async with LocalModel(toy.ToyEngine(), tokenizer) as model:
            sampling = SamplingParams(max_tokens=2, logprobs=0)
            return [chunk async for chunk in model.generate("a", sampling=sampling)]

    first, last = asyncio.run(run())
    times = [(chunk.response_time_ns, chunk.received_ns) for chunk in (first, last)]
    assert first == Chunk(
        "b", (98,), first.received_ns, logprobs=(TokenLogprob(98, -0.5),), response_time_ns=first.response_time_ns
    )
    assert last == Chunk(
        "c", (99,), last.received_ns, "length", None, 1, 2, (TokenLogprob(99, -0.5),), 0, last.response_time_ns
    )
    assert sorted(times) == times
    assert all(made is not None and made <= received for made, received in times)


def test_completion(tokenizer: Tokenizer) -> None:
    deltas: list[str] = []

    async def run() -> Any:
        async with LocalModel(toy.ToyEngine(), tokenizer) as model:
            chunks = model.generate([120, 97], sampling=SamplingParams(max_tokens=9), stop=("ef",))
            with pytest.raises(ValueError, match="no such luck"):
                await collect(chunks, deltas.append)
            chunks = model.generate([97, 97], sampling=SamplingParams(max_tokens=9), stop=("ef",))
            return await collect(chunks, deltas.append)

    completion = asyncio.run(run())
    assert "".join(deltas) == completion.text == "bcd"
    assert bytes(completion.token_ids) == b"bcdef"
    assert (completion.prompt_tokens, completion.output_tokens) == (2, 5)
    assert (completion.finish_reason, completion.stop_reason) == ("stop", "ef")
    assert 0 <= completion.ttft_s <= completion.total_s


def test_deadline_and_refusal_leave_the_engine_empty(tokenizer: Tokenizer) -> None:
    engine = toy.ToyEngine()

    async def run() -> None:
        async with LocalModel(engine, tokenizer) as model:
            held = model.generate("h", sampling=SamplingParams(), deadlines=Deadlines(idle_s=0.05))
            with pytest.raises(DeadlineError, match=r"^the idle deadline of 0\.05 s passed$"):
                await collect(held, lambda delta: None)
            with pytest.raises(RequestError, match="the prompt has 64 tokens, the context 64"):
                await anext(model.generate("a" * 64, sampling=SamplingParams()))
            assert (engine.stats().running, engine.stats().waiting) == (0, 0)
            with pytest.raises(EngineError, match="the engine died: out of luck"):
                await anext(model.generate("d", sampling=SamplingParams()))

    asyncio.run(run())
