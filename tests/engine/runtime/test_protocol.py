"""What every adapter does alike: the promises of ``Engine``, held by the CPU runtime and by TensorRT-LLM's stand-in."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine.runtime.conftest import VOCAB
from tests.fakes import trtllm
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.cpu import CpuEngine
from toolkit.engine.runtime.protocol import Engine, Event, Request, SamplingParams
from toolkit.engine.text import TextEvent, Tokenizer, generate_text
from toolkit.errors import EngineError, RequestError

CONTEXT = 64
PROMPT = (20, 30, 40)


class Gate(threading.Event):
    """While it is cleared, the runtime makes no further step."""

    def acquire(self) -> None:
        self.wait()

    def release(self) -> None:
        self.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    made.set()
    yield made
    made.set()


@pytest.fixture(params=["cpu", *trtllm.RELEASES])
def engine(
    request: pytest.FixtureRequest, gate: Gate, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    made: Any
    if request.param == "cpu":
        made = CpuEngine.load(tiny_folder, max_batch_size=4, max_num_tokens=48, max_seq_len=CONTEXT)
        step = made._model.step
        made._model.step = lambda *arrays: (gate.wait(), step(*arrays))[1]
    else:
        trtllm.install(monkeypatch, request.param)
        config = json.dumps({"vocab_size": VOCAB})
        args = {"max_num_tokens": CONTEXT}
        made = open_engine(trtllm.write_bundle(tmp_path / "bundle", release=request.param, config=config, args=args))
        made._llm._executor.allowed = gate
    yield made
    gate.set()
    made.close()


def ask(name: str = "a", prompt: tuple[int, ...] = PROMPT, *, streaming: bool = True, **sampling: Any) -> Request:
    return Request(name, prompt, SamplingParams(**{"ignore_eos": True, **sampling}), streaming=streaming)


async def rest_of(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


def events_of(engine: Engine, request: Request) -> list[Event]:
    async def run() -> list[Event]:
        return await rest_of(engine.submit(request))

    return asyncio.run(run())


def tokens_of(events: list[Event]) -> list[int]:
    return [token for event in events for token in event.token_ids]


@pytest.mark.parametrize("streaming", [True, False])
def test_the_last_event_says_why_it_is_the_last(engine: Engine, streaming: bool) -> None:
    events = events_of(engine, ask(max_tokens=7, streaming=streaming))
    assert len(tokens_of(events)) == 7
    assert [event.finish_reason for event in events[:-1]] == [None] * (len(events) - 1)
    assert (events[-1].finish_reason, events[-1].stop_token_id) == ("length", None)
    times = [event.time_ns for event in events]
    assert times == sorted(times)
    assert tokens_of(events_of(engine, ask(max_tokens=7))) == tokens_of(events)  # greedy


def test_a_stop_token_is_part_of_the_answer_and_is_named(engine: Engine) -> None:
    tokens = tokens_of(events_of(engine, ask(max_tokens=8)))
    stop = tokens[4]
    events = events_of(engine, ask(max_tokens=8, stop_token_ids=(stop,)))
    assert tokens_of(events) == tokens[: tokens.index(stop) + 1]
    assert (events[-1].finish_reason, events[-1].stop_token_id) == ("stop", stop)


class Letters(Tokenizer):
    """Token n is the character n + 256."""

    def __init__(self) -> None:
        pass

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "".join(chr(256 + token) for token in ids)


def test_a_stop_string_loses_nothing_that_is_known(engine: Engine, request: pytest.FixtureRequest) -> None:
    tokens = tokens_of(events_of(engine, ask(max_tokens=8)))

    async def run() -> TextEvent:
        stop = Letters().decode(tokens[2:4])
        return [event async for event in generate_text(engine, Letters(), ask(max_tokens=8), [stop])][-1]

    last = asyncio.run(run())
    assert (last.finish_reason, last.output_tokens) == ("stop", 4)
    assert last.cached_tokens == (None if "1.1.0" in request.node.name else 0)
    assert last.perf is not None
    assert last.perf.arrival_ns is not None
    assert last.perf.first_scheduled_ns is not None
    assert last.perf.arrival_ns <= last.perf.first_scheduled_ns


@pytest.mark.parametrize("asked", [None, 0, 3])
def test_logprobs_are_one_a_token(engine: Engine, asked: int | None, request: pytest.FixtureRequest) -> None:
    events = events_of(engine, ask(max_tokens=5, logprobs=asked))
    entries = [entry for event in events for entry in event.logprobs]
    assert [entry.token_id for entry in entries] == ([] if asked is None else tokens_of(events))
    assert all(entry.logprob < 0 for entry in entries)
    floats = "1.1.0" in request.node.name
    assert {len(entry.top) for entry in entries} <= {0 if floats else asked}


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (ask(prompt=()), "the prompt is empty"),
        (ask(prompt=(7,) * 64), "the prompt has 64 tokens, but prompt and output share a context of 64"),
        (ask(prompt=(7, VOCAB)), f"prompt token {VOCAB} is outside the vocabulary of {VOCAB}"),
        (ask(prompt=(-1, 7)), f"prompt token -1 is outside the vocabulary of {VOCAB}"),
        (ask(top_p=0.0), "top_p is 0.0, but must be above 0 and at most 1"),
        (ask(temperature=float("nan")), "temperature is nan, but must be between 0 and 100"),
        (ask(min_tokens=17), "min_tokens is 17, but must be at most max_tokens, 16"),
        (ask(stop_token_ids=(VOCAB,)), f"stop_token_ids is ({VOCAB},), but must be token ids below {VOCAB}"),
        (ask(logprobs=VOCAB + 1), f"logprobs is {VOCAB + 1}, but must be at most {VOCAB}"),
    ],
)
def test_an_impossible_request_is_refused_at_once(engine: Engine, wanted: Request, what: str) -> None:
    async def run() -> list[Event]:
        with pytest.raises(RequestError) as caught:
            engine.submit(wanted)
        assert caught.value.what == what
        return await rest_of(engine.submit(ask(max_tokens=2)))

    assert len(tokens_of(asyncio.run(run()))) == 2


def test_the_context_bounds_the_output(engine: Engine) -> None:
    events = events_of(engine, ask(prompt=(7,) * 60, max_tokens=50))
    assert (len(tokens_of(events)), events[-1].finish_reason) == (4, "length")


def test_a_live_id_cannot_be_used_twice_but_again(engine: Engine, gate: Gate) -> None:
    async def run() -> None:
        gate.clear()
        stream = engine.submit(ask(max_tokens=2))
        with pytest.raises(RequestError, match=r"^request id 'a' is in use$"):
            engine.submit(ask())
        gate.set()
        await rest_of(stream)
        assert len(tokens_of(await rest_of(engine.submit(ask(max_tokens=2))))) == 2

    asyncio.run(run())


@pytest.mark.parametrize("how", ["cancel", "aclose", "drop"])
def test_leaving_cancels(engine: Engine, gate: Gate, how: str) -> None:
    async def run() -> None:
        gate.clear()
        stream: Any = engine.submit(ask(max_tokens=60))
        if how == "cancel":
            engine.cancel("a")
        elif how == "aclose":
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        else:
            del stream
            gc.collect()
        gate.set()
        if how == "cancel":
            assert [event.finish_reason for event in await rest_of(stream)][-1] == "cancelled"
        assert len(tokens_of(await rest_of(engine.submit(ask("b", max_tokens=3))))) == 3

    asyncio.run(run())
    stats = engine.stats()
    assert (stats.cancelled, stats.finished, stats.running, stats.waiting) == (1, 1, 0, 0)


def test_cancel_ignores_unknown_and_finished_requests(engine: Engine) -> None:
    engine.cancel("nobody")
    events_of(engine, ask(max_tokens=1))
    engine.cancel("a")
    assert engine.stats().cancelled == 0


def test_an_ended_stream_stays_ended(engine: Engine) -> None:
    async def run() -> None:
        stream: Any = engine.submit(ask(max_tokens=1))
        await rest_of(stream)
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        await stream.aclose()

    asyncio.run(run())
    assert engine.stats().cancelled == 0


def test_counts(engine: Engine) -> None:
    async def run() -> None:
        await asyncio.gather(*(rest_of(engine.submit(ask(f"r{n}", max_tokens=5))) for n in range(6)))

    asyncio.run(run())
    stats = engine.stats()
    assert (stats.slots, stats.running, stats.waiting) == (4, 0, 0)
    assert (stats.finished, stats.cancelled, stats.failed) == (6, 0, 0)
    assert (stats.prompt_tokens, stats.generated_tokens) == (18, 30)


def is_closing(engine: Any) -> bool:
    closing = engine._closing
    return closing if isinstance(closing, bool) else bool(closing.is_set())


def test_close_ends_open_streams_and_refuses_more(engine: Engine, gate: Gate) -> None:
    async def run() -> None:
        gate.clear()
        stream = engine.submit(ask(max_tokens=60))
        closing = [asyncio.ensure_future(asyncio.to_thread(engine.close)) for _ in range(2)]
        while not is_closing(engine):
            await asyncio.sleep(0)
        gate.set()
        with pytest.raises(EngineError, match=r"^the engine was closed$"):
            await rest_of(stream)
        await asyncio.gather(*closing)
        with pytest.raises(EngineError, match=r"^the engine was closed$"):
            engine.submit(ask("later"))

    asyncio.run(run())


def test_text_stops_at_a_string(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    trtllm.byte_tokenizer().save(str(tmp_path / "text" / "tokenizer.json"))
    tokenizer = Tokenizer.open(tmp_path / "text")
    whole = bytes(tokens_of(events_of(engine, ask(max_tokens=12, prompt=(40,))))).decode()
    stop = whole[5:7]

    async def run() -> list[Any]:
        return [event async for event in generate_text(engine, tokenizer, ask(max_tokens=40, prompt=(40,)), (stop,))]

    events = asyncio.run(run())
    assert "".join(event.text for event in events) == whole[: whole.index(stop)]
    assert (events[-1].finish_reason, events[-1].stop_reason) == ("stop", stop)
