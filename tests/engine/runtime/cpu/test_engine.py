"""The engine as its callers see it: streams, cancelling, limits, death and closing."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.cpu import CpuEngine
from toolkit.engine.runtime.cpu.model import Model
from toolkit.engine.runtime.cpu.weights import load_weights, read_config
from toolkit.engine.runtime.protocol import Event, Request, SamplingParams
from toolkit.engine.text import Tokenizer, generate_text
from toolkit.errors import CheckpointError, EngineDeadError, EngineError, RequestError
from toolkit.numerics.gpt_oss import forward

LIMITS = {"max_batch_size": 8, "max_num_tokens": 48, "max_seq_len": 256}
PROMPTS = [
    tuple(np.random.default_rng(length).integers(6, 96, length).tolist()) for length in (5, 90, 24, 1, 60, 131, 17, 25)
]


class SteppedModel(Model):
    """Computes a step only when ``allowed`` lets it, and breaks when ``broken`` is set."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.allowed = threading.Semaphore(0)
        self.broken = False

    def step(self, *arrays: Any) -> Any:
        self.allowed.acquire()
        if self.broken:
            raise ZeroDivisionError("no step today")
        return super().step(*arrays)


class SpoiltModel(Model):
    """Its first step with several rows of logits gives NaN for the first of them."""

    spoilt = False

    def step(self, *arrays: Any) -> Any:
        logits_RV = super().step(*arrays)
        if len(logits_RV) > 1 and not self.spoilt:
            self.spoilt = True
            logits_RV[0] = np.nan
        return logits_RV


@pytest.fixture
def engine(tiny_folder: Path) -> Iterator[CpuEngine]:
    made = CpuEngine.load(tiny_folder, **LIMITS)
    yield made
    made.close()


@pytest.fixture
def stepped(tiny_folder: Path) -> Iterator[tuple[CpuEngine, SteppedModel]]:
    """An engine of one slot whose steps the test lets through."""
    with Checkpoint.open(tiny_folder) as checkpoint:
        config = read_config(checkpoint)
        weights = load_weights(checkpoint, config, precision="w4a16", experts="dense")
    model = SteppedModel(weights, config, slots=1, max_seq_len=256)
    made = CpuEngine(model, (2, 5), max_batch_size=1, max_num_tokens=48, max_seq_len=256)
    yield made, model
    model.allowed.release(10_000)
    made.close()


def request(name: str, prompt: tuple[int, ...] = PROMPTS[0], **sampling: Any) -> Request:
    return Request(name, prompt, SamplingParams(**{"ignore_eos": True, **sampling}))


async def rest_of(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


async def events_of(engine: CpuEngine, wanted: Request) -> list[Event]:
    return await rest_of(engine.submit(wanted))


async def tokens_of(engine: CpuEngine, wanted: Request) -> list[int]:
    return [token for event in await events_of(engine, wanted) for token in event.token_ids]


def crowd(**sampling: Any) -> list[Request]:
    return [request(f"r{n}", PROMPTS[n % 8][n // 8 :] or (9,), **sampling) for n in range(20)]


async def alone_and_together(engine: CpuEngine, requests: list[Request]) -> tuple[list[list[int]], list[list[int]]]:
    alone = [await tokens_of(engine, one) for one in requests]
    return alone, await asyncio.gather(*(tokens_of(engine, one) for one in requests))


def test_a_crowd_gets_the_same_greedy_tokens_as_each_alone(engine: CpuEngine) -> None:
    alone, together = asyncio.run(alone_and_together(engine, crowd(max_tokens=30)))
    assert together == alone
    assert {len(tokens) for tokens in alone} == {30}


def test_a_crowd_gets_the_same_sampled_tokens_as_each_alone(engine: CpuEngine) -> None:
    requests = [request(f"s{n}", PROMPTS[n], max_tokens=30, temperature=1.0, top_p=0.9, seed=n) for n in range(8)]
    alone, together = asyncio.run(alone_and_together(engine, requests))
    assert together == alone
    assert len({tuple(tokens) for tokens in alone}) == 8


def test_greedy_tokens_are_those_of_the_forward_pass(engine: CpuEngine, tiny_folder: Path) -> None:
    with Checkpoint.open(tiny_folder) as checkpoint:
        config = read_config(checkpoint)
        weights = load_weights(checkpoint, config, precision="w4a16", experts="dense")
    tokens = list(PROMPTS[4])
    for _ in range(12):
        tokens.append(int(forward(np.array(tokens), weights, config)[-1].argmax()))
    assert asyncio.run(tokens_of(engine, request("a", PROMPTS[4], max_tokens=12))) == tokens[60:]


@pytest.mark.parametrize("choices", [{"experts": "routed"}, {"precision": "w4a4"}, {"threads": 2}])
def test_other_ways_to_load(tiny_folder: Path, choices: dict[str, Any]) -> None:
    engine = CpuEngine.load(tiny_folder, **LIMITS, **choices)
    assert len(asyncio.run(tokens_of(engine, request("a", max_tokens=5)))) == 5
    engine.close()


def test_events_of_one_request(engine: CpuEngine) -> None:
    events = asyncio.run(events_of(engine, request("a", max_tokens=4)))
    assert [len(event.token_ids) for event in events] == [1, 1, 1, 1]
    assert [event.finish_reason for event in events] == [None, None, None, "length"]
    assert [event.stop_token_id for event in events] == [None] * 4
    assert [event.logprobs for event in events] == [()] * 4
    times = [event.time_ns for event in events]
    assert times == sorted(times)


def test_stop_token_ends_the_stream_and_is_named(engine: CpuEngine) -> None:
    tokens = asyncio.run(tokens_of(engine, request("a", max_tokens=12)))
    stop = tokens[6]
    events = asyncio.run(events_of(engine, request("a", max_tokens=12, stop_token_ids=(stop,))))
    assert [token for event in events for token in event.token_ids] == tokens[: tokens.index(stop) + 1]
    assert (events[-1].finish_reason, events[-1].stop_token_id) == ("stop", stop)


def test_the_models_end_tokens_stop_unless_ignored(tiny: Any, tiny_folder: Path, tmp_path: Path) -> None:
    engine = CpuEngine.load(tiny_folder, **LIMITS)
    tokens = asyncio.run(tokens_of(engine, request("a", max_tokens=12)))
    engine.close()
    tiny.write(tmp_path)
    (tmp_path / "generation_config.json").write_text(f'{{"eos_token_id": [{tokens[4]}]}}')
    engine = CpuEngine.load(tmp_path, **LIMITS)
    first = tokens.index(tokens[4])
    assert asyncio.run(tokens_of(engine, request("a", max_tokens=12, ignore_eos=False))) == tokens[: first + 1]
    assert asyncio.run(tokens_of(engine, request("a", max_tokens=12, ignore_eos=True))) == tokens
    held = asyncio.run(tokens_of(engine, request("a", max_tokens=12, min_tokens=12, ignore_eos=False)))
    assert len(held) == 12
    assert tokens[4] not in held[:12]
    engine.close()


def test_logprobs_are_the_log_softmax_of_the_logits(engine: CpuEngine, tiny_folder: Path) -> None:
    (event,) = asyncio.run(events_of(engine, request("a", PROMPTS[2], max_tokens=1, logprobs=3)))
    with Checkpoint.open(tiny_folder) as checkpoint:
        config = read_config(checkpoint)
        weights = load_weights(checkpoint, config, precision="w4a16", experts="dense")
    logits = forward(np.array(PROMPTS[2]), weights, config)[-1].astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum())
    (found,) = event.logprobs
    best = np.argsort(-expected)[:3].tolist()
    assert (found.token_id, [token for token, _ in found.top]) == (best[0], best)
    assert [value for _, value in found.top] == pytest.approx(expected[best], abs=1e-5)
    assert found.logprob == found.top[0][1]


def test_the_context_bounds_the_output(engine: CpuEngine) -> None:
    prompt = (PROMPTS[5] * 2)[:250]
    events = asyncio.run(events_of(engine, request("a", prompt, max_tokens=100)))
    assert (len(events), events[-1].finish_reason) == (6, "length")


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (request("a", ()), "the prompt is empty"),
        (request("a", (7,) * 256), "the prompt has 256 tokens, but prompt and output share a context of 256"),
        (request("a", (7, 96)), "prompt token 96 is outside the vocabulary of 96"),
        (request("a", (-1, 7)), "prompt token -1 is outside the vocabulary of 96"),
        (request("a", top_p=0.0), "top_p is 0.0, but must be above 0 and at most 1"),
        (request("a", stop_token_ids=(96,)), "stop_token_ids is (96,), but must be token ids below 96"),
        (
            request("a", presence_penalty=-3e38, frequency_penalty=-3e38, temperature=1.0),
            "presence_penalty is -3e+38, but must be between -2 and 2",
        ),
        (
            request("a", repetition_penalty=1e-50, temperature=1.0),
            "repetition_penalty is 1e-50, but must be between 0.01 and 100",
        ),
        (
            request("a", stop_token_ids=tuple(range(96)), min_tokens=4, temperature=1.0),
            "stop_token_ids and end tokens are all 96 tokens there are, so min_tokens cannot be reached",
        ),
        (
            request("a", ignore_eos=False, stop_token_ids=(0, 1, 3, 4, *range(6, 96)), min_tokens=4),
            "stop_token_ids and end tokens are all 96 tokens there are, so min_tokens cannot be reached",
        ),
    ],
)
def test_an_impossible_request_is_refused_at_once_and_the_engine_goes_on(
    engine: CpuEngine, wanted: Request, what: str
) -> None:
    async def scenario() -> list[int]:
        with pytest.raises(RequestError) as caught:
            engine.submit(wanted)
        assert caught.value.what == what
        return await tokens_of(engine, request("a", max_tokens=2))

    assert len(asyncio.run(scenario())) == 2


def test_a_live_id_cannot_be_used_twice(stepped: tuple[CpuEngine, SteppedModel]) -> None:
    engine, model = stepped

    async def scenario() -> None:
        stream = engine.submit(request("a", max_tokens=1))
        with pytest.raises(RequestError, match="request id 'a' is in use"):
            engine.submit(request("a"))
        model.allowed.release(2)
        await anext(stream)
        assert len(await tokens_of(engine, request("a", max_tokens=1))) == 1

    asyncio.run(scenario())


def test_cancel_frees_the_slot_within_one_step(stepped: tuple[CpuEngine, SteppedModel]) -> None:
    engine, model = stepped

    async def scenario() -> list[Event]:
        stream = engine.submit(request("a", max_tokens=200))
        model.allowed.release(3)
        for _ in range(3):
            await anext(stream)
        engine.cancel("a")
        # the worker may have begun its fourth step; it gets no fifth one
        model.allowed.release(1)
        return await rest_of(stream)

    rest = asyncio.run(scenario())
    assert len(rest) <= 2
    assert (rest[-1].finish_reason, rest[-1].token_ids) == ("cancelled", ())
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.kv_tokens, stats.cancelled, stats.finished) == (0, 0, 0, 1, 0)


def test_cancel_reaches_a_waiting_request(stepped: tuple[CpuEngine, SteppedModel]) -> None:
    engine, model = stepped

    async def scenario() -> list[Event]:
        first, second = engine.submit(request("a", max_tokens=200)), engine.submit(request("b"))
        model.allowed.release(1)
        await anext(first)
        assert (engine.stats().running, engine.stats().waiting) == (1, 1)
        engine.cancel("b")
        model.allowed.release(1)
        return await rest_of(second)

    assert [event.finish_reason for event in asyncio.run(scenario())] == ["cancelled"]


def test_cancel_ignores_unknown_and_finished_requests(engine: CpuEngine) -> None:
    engine.cancel("nobody")
    asyncio.run(tokens_of(engine, request("a", max_tokens=1)))
    engine.cancel("a")
    assert engine.stats().cancelled == 0


@pytest.mark.parametrize("how", ["aclose", "drop", "cancelled wait", "closed loop"])
def test_leaving_a_stream_cancels_its_request(stepped: tuple[CpuEngine, SteppedModel], how: str) -> None:
    engine, model = stepped
    left: list[Any] = []

    async def leave() -> None:
        stream = engine.submit(request("a", max_tokens=200))
        model.allowed.release(1)
        await anext(stream)
        if how == "aclose":
            await stream.aclose()
        elif how == "drop":
            del stream
            gc.collect()
        elif how == "cancelled wait":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.001)
            left.append(stream)
        else:
            left.append(stream)

    async def follow() -> list[int]:
        model.allowed.release(4)
        return await tokens_of(engine, request("b", max_tokens=2))

    asyncio.run(leave())
    # the only slot is free again long before 200 tokens: two steps for "b", one that "a" may have begun, one to learn
    # that the loop of "a" is closed
    assert len(asyncio.run(follow())) == 2
    assert engine.stats().cancelled == 1


def test_an_ended_stream_stays_ended(engine: CpuEngine) -> None:
    async def scenario() -> None:
        stream = engine.submit(request("a", max_tokens=1))
        await anext(stream)
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        await stream.aclose()

    asyncio.run(scenario())
    assert engine.stats().cancelled == 0


def test_stats_count(stepped: tuple[CpuEngine, SteppedModel]) -> None:
    engine, model = stepped

    async def scenario() -> None:
        stream = engine.submit(request("a", PROMPTS[4], max_tokens=3))
        model.allowed.release(2)
        await anext(stream)
        stats = engine.stats()
        assert (stats.running, stats.waiting, stats.slots) == (1, 0, 1)
        assert (stats.kv_tokens, stats.kv_capacity) == (60, 256)
        assert (stats.steps, stats.prompt_tokens, stats.generated_tokens, stats.finished) == (2, 60, 1, 0)
        model.allowed.release(2)
        assert len(await rest_of(stream)) == 2

    asyncio.run(scenario())
    stats = engine.stats()
    assert (stats.running, stats.kv_tokens, stats.steps, stats.prompt_tokens) == (0, 0, 4, 60)
    assert (stats.generated_tokens, stats.finished, stats.cancelled) == (3, 1, 0)


def test_logits_that_are_no_numbers_end_their_request_alone(tiny_folder: Path) -> None:
    with Checkpoint.open(tiny_folder) as checkpoint:
        config = read_config(checkpoint)
        weights = load_weights(checkpoint, config, precision="w4a16", experts="dense")
    model = SpoiltModel(weights, config, slots=2, max_seq_len=256)
    engine = CpuEngine(model, (2, 5), max_batch_size=2, max_num_tokens=48, max_seq_len=256)

    async def scenario() -> None:
        spoilt, other = engine.submit(request("a", max_tokens=250)), engine.submit(request("b", max_tokens=30))
        with pytest.raises(EngineError, match=r"^no token can be chosen: the largest logit is nan$") as caught:
            await rest_of(spoilt)
        assert not isinstance(caught.value, EngineDeadError | RequestError)
        with pytest.raises(StopAsyncIteration):
            await anext(spoilt)
        assert len(await rest_of(other)) == 30
        # the name and the slot are free again
        assert len(await tokens_of(engine, request("a", max_tokens=3))) == 3

    asyncio.run(scenario())
    stats = engine.stats()
    assert (stats.running, stats.finished, stats.failed, stats.cancelled) == (0, 2, 1, 0)
    engine.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_ends_all_streams_and_refuses_new_ones(stepped: tuple[CpuEngine, SteppedModel]) -> None:
    engine, model = stepped
    what = "the engine died: ZeroDivisionError: no step today"

    async def scenario() -> None:
        running, waiting = engine.submit(request("a", max_tokens=200)), engine.submit(request("b"))
        model.allowed.release(1)
        await anext(running)
        model.broken = True
        model.allowed.release(1)
        for stream in (running, waiting):
            with pytest.raises(EngineDeadError) as caught:
                await anext(stream)
            assert caught.value.what == what
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        with pytest.raises(EngineDeadError) as caught:
            engine.submit(request("c"))
        assert caught.value.what == what

    asyncio.run(scenario())


def test_close_ends_streams_and_can_be_repeated(stepped: tuple[CpuEngine, SteppedModel]) -> None:
    engine, model = stepped

    async def scenario() -> None:
        stream = engine.submit(request("a", max_tokens=200))
        model.allowed.release(1)
        await anext(stream)
        model.allowed.release(1_000)
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="the engine was closed"):
            await rest_of(stream)
        with pytest.raises(EngineError, match="the engine was closed") as caught:
            engine.submit(request("b"))
        assert not isinstance(caught.value, EngineDeadError)

    asyncio.run(scenario())


def test_a_checkpoint_that_cannot_run_starts_no_engine(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path, without="model.norm.weight")
    threads = threading.active_count()
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight"):
        CpuEngine.load(folder, **LIMITS)
    assert threading.active_count() == threads


def test_the_sample_speaks_as_transformers_has_it(sample: Path) -> None:
    reference = np.load(sample.parent / "reference.npz")
    engine, tokenizer = CpuEngine.load(sample, **{**LIMITS, "max_seq_len": 512}), Tokenizer.open(sample)
    lengths, rows = reference["greedy_lengths"], reference["greedy_prompts"]
    prompts = [tuple(row[:length].tolist()) for row, length in zip(rows, lengths, strict=True)]

    async def speak(number: int) -> tuple[str, list[int]]:
        wanted = request(str(number), prompts[number], max_tokens=48)
        events = [event async for event in generate_text(engine, tokenizer, wanted)]
        return "".join(event.text for event in events), [token for event in events for token in event.token_ids]

    async def scenario() -> list[tuple[str, list[int]]]:
        return await asyncio.gather(*(speak(number) for number in range(8)))

    expected = reference["greedy_tokens"].tolist()
    assert asyncio.run(scenario()) == [(tokenizer.decode(tokens), tokens) for tokens in expected]
    engine.close()
