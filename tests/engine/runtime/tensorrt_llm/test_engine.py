"""The adapter against the stand-in: what it hands to TensorRT-LLM, what it makes of the answers, and its ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import trtllm
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.protocol import Event, PerfMetrics, Request, SamplingParams, TokenLogprob
from toolkit.engine.runtime.tensorrt_llm import TrtllmEngine
from toolkit.engine.runtime.tensorrt_llm import engine as adapter
from toolkit.errors import EngineDeadError, EngineError, RequestError

END = 256
Z = ord("z")
DEATH = "CUDA error: an illegal memory access was encountered"


@dataclass
class Opened:
    engine: TrtllmEngine
    llm: Any
    release: str

    @property
    def steps(self) -> threading.Semaphore:
        """Lets the runtime make one step a release; without it, it runs freely."""
        executor = self.llm._executor
        executor.allowed = executor.allowed or threading.Semaphore(0)
        return executor.allowed


Opener = Callable[..., Opened]


@pytest.fixture
def opener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Opener]:
    monkeypatch.setattr(adapter, "WATCH_S", 0.02)
    monkeypatch.setattr(adapter, "STATS_S", 0.02)
    opened: list[Opened] = []

    def make(release: str = "1.2.1", **args: Any) -> Opened:
        trtllm.install(monkeypatch, release)
        bundle = trtllm.write_bundle(tmp_path / f"bundle-{len(opened)}", release=release, args=args)
        engine = open_engine(bundle)
        import tensorrt_llm

        assert isinstance(engine, TrtllmEngine)
        opened.append(Opened(engine, tensorrt_llm.LLM.made[-1], release))
        return opened[-1]

    yield make
    for one in opened:
        if one.llm._executor is not None and one.llm._executor.allowed is not None:
            one.llm._executor.allowed.release(1000)
        one.engine.close()


@pytest.fixture(params=trtllm.RELEASES)
def each(request: pytest.FixtureRequest, opener: Opener) -> Opened:
    return opener(request.param)


def ask(name: str, prompt: str = "a", *, streaming: bool = True, **sampling: Any) -> Request:
    return Request(name, tuple(prompt.encode()), SamplingParams(**sampling), streaming=streaming)


async def rest_of(stream: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in stream]


def events_of(engine: TrtllmEngine, request: Request) -> list[Event]:
    async def run() -> list[Event]:
        return await rest_of(engine.submit(request))

    return asyncio.run(run())


def text_of(events: list[Event]) -> str:
    return bytes(token for event in events for token in event.token_ids).decode()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


def test_llm_gets_the_bundles_arguments(opener: Opener, tmp_path: Path) -> None:
    assert opener().llm.kwargs == {
        "model": str(tmp_path / "bundle-0" / "checkpoint"),
        "backend": "pytorch",
        "tensor_parallel_size": 2,
        "max_batch_size": 4,
        "max_num_tokens": 48,
        "max_seq_len": 64,
        "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.5},
        "stream_interval": 1,
        "num_postprocess_workers": 0,
        "skip_tokenizer_init": True,
        "enable_iter_perf_stats": True,
    }


def test_a_streamed_answer(each: Opened) -> None:
    events = events_of(each.engine, ask("a", "ab", max_tokens=5))
    assert [event.token_ids for event in events] == [(99,), (100,), (101,), (102,), (103,)]
    assert [event.finish_reason for event in events] == [None, None, None, None, "length"]
    assert [event.time_ns for event in events] == sorted(event.time_ns for event in events)
    last = events[-1]
    assert last.cached_tokens == (None if each.release == "1.1.0" else 0)
    second = 1_000_000_000
    assert last.perf == PerfMetrics(
        arrival_ns=5 * second,
        first_scheduled_ns=5 * second + 1_000_000,
        first_token_ns=5 * second + 2_000_000,
        last_token_ns=5 * second + 3_000_000,
        kv_reused_blocks=1,
        kv_missed_blocks=2,
        kv_new_blocks=2,
        kv_total_blocks=3,
        kv_hit_rate=0.25,
        acceptance_rate=0.0,
        accepted_draft_tokens=0,
        draft_tokens=0,
    )
    so_far = replace(last.perf, last_token_ns=None)
    assert [(event.cached_tokens, event.perf) for event in events[:-1]] == [(last.cached_tokens, so_far)] * 4


def test_stream_interval_makes_events_of_several_tokens(opener: Opener) -> None:
    events = events_of(opener(stream_interval=4).engine, ask("a", max_tokens=10, logprobs=0))
    assert [bytes(event.token_ids) for event in events] == [b"b", b"cde", b"fghi", b"jk"]
    assert [len(event.logprobs) for event in events] == [1, 3, 4, 2]


def test_an_answer_that_is_not_streamed_is_one_event(each: Opened) -> None:
    [event] = events_of(each.engine, ask("a", streaming=False, max_tokens=6, logprobs=0))
    assert (bytes(event.token_ids), event.finish_reason, len(event.logprobs)) == (b"bcdefg", "length", 6)


@pytest.mark.parametrize("asked", [0, 2])
def test_logprobs_of_both_shapes(each: Opened, asked: int) -> None:
    [event] = events_of(each.engine, ask("a", max_tokens=1, logprobs=asked))
    # floats in 1.1, dicts since
    top = () if each.release == "1.1.0" else tuple((98 + n, -0.5 - n) for n in range(asked))
    assert event.logprobs == (TokenLogprob(98, -0.5, top),)
    assert events_of(each.engine, ask("b", max_tokens=1))[0].logprobs == ()


@pytest.mark.parametrize(
    ("sampling", "tokens", "stopped_by"),
    [
        ({}, b"xyz", Z),  # the model's second end token
        ({"stop_token_ids": (ord("y"),)}, b"xy", ord("y")),
        ({"ignore_eos": True, "max_tokens": 5}, b"xyzab", None),
        ({"ignore_eos": True, "stop_token_ids": (ord("a"),)}, b"xyza", ord("a")),
        ({"ignore_eos": True, "stop_token_ids": (Z,)}, b"xyz", Z),
    ],
)
def test_ends(each: Opened, sampling: dict[str, Any], tokens: bytes, stopped_by: int | None) -> None:
    events = events_of(each.engine, ask("a", "w", **{"max_tokens": 9, **sampling}))
    assert bytes(token for event in events for token in event.token_ids) == tokens
    reason = "length" if stopped_by is None else "stop"
    assert (events[-1].finish_reason, events[-1].stop_token_id) == (reason, stopped_by)


def test_the_first_end_token_ends_and_is_named_unless_held_off(each: Opened) -> None:
    near_end = Request("a", (254,), SamplingParams(max_tokens=9))
    events = events_of(each.engine, near_end)
    assert [event.token_ids for event in events] == [(255,), (END,)]
    assert (events[-1].finish_reason, events[-1].stop_token_id) == ("stop", END)
    held = events_of(each.engine, Request("b", (254,), SamplingParams(max_tokens=4, min_tokens=4)))
    assert [token for event in held for token in event.token_ids] == [255, 0, 1, 2]


def test_sampling_that_upstream_refuses_is_the_requests_fault(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opener().engine

    def picky(**kwargs: Any) -> Any:
        raise ValueError("require top_k >= 0,\n  got top_k=-1")

    monkeypatch.setattr(engine, "_make_params", picky)

    async def run() -> None:
        with pytest.raises(RequestError, match=r"^require top_k >= 0,$"):
            engine.submit(ask("a"))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("prompt", "error", "what"),
    [
        ("n", RequestError, "`default_max_tokens` (-3) must be greater than 0, max_seq_len (5)"),
        ("a" * 50, RequestError, "The sum of prompt length (50.0), query length (0) should not exceed max_num_tokens"),
        ("f", EngineError, "the request failed: Encountered an error in forward function: no luck"),
    ],
)
def test_one_request_fails_and_the_engine_goes_on(
    each: Opened, prompt: str, error: type[EngineError], what: str
) -> None:
    async def run() -> tuple[EngineError, list[Event]]:
        other = each.engine.submit(ask("other", "h", max_tokens=9))
        await anext(other)
        with pytest.raises(error) as caught:
            await rest_of(each.engine.submit(ask("a", prompt, max_tokens=9)))
        each.engine.cancel("other")
        return caught.value, await rest_of(other)

    caught, rest = asyncio.run(run())
    assert (type(caught), caught.what) == (error, what)
    assert [event.finish_reason for event in rest] == ["cancelled"]
    assert (each.engine.stats().failed, each.engine.stats().cancelled) == (1, 1)
    assert text_of(events_of(each.engine, ask("b", max_tokens=2))) == "bc"


def test_the_tokens_before_a_failure_are_given(each: Opened) -> None:
    async def run() -> None:
        streams = [each.engine.submit(ask(f"a{n}", "f", max_tokens=9)) for n in range(4)]
        for stream in streams:
            assert bytes((await anext(stream)).token_ids) == b"g"
            with pytest.raises(EngineError, match="no luck"):
                await anext(stream)

    asyncio.run(run())
    assert each.engine.stats().failed == 4


def test_a_dead_worker_ends_every_request_and_the_engine(each: Opened) -> None:
    async def run() -> None:
        held = each.engine.submit(ask("held", "h", max_tokens=9))
        await anext(held)
        waiting = asyncio.ensure_future(rest_of(each.engine.submit(ask("waiting", "h", max_tokens=9))))
        with pytest.raises(EngineDeadError, match=rf"^the engine died: RuntimeError: {DEATH}$"):
            await rest_of(each.engine.submit(ask("deadly", "d", max_tokens=9)))
        for stream in (rest_of(held), waiting):
            with pytest.raises(EngineDeadError, match=DEATH):
                await stream
        with pytest.raises(EngineDeadError, match=DEATH):
            each.engine.submit(ask("later"))
        with pytest.raises(EngineDeadError, match=DEATH):
            each.engine.stats()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_death_between_requests_is_seen(each: Opened) -> None:
    def dead() -> bool:
        try:
            each.engine.stats()
        except EngineDeadError as error:
            return error.what == f"the engine died: RuntimeError: {DEATH}"
        return False

    each.llm._executor.die()
    asyncio.run(until(dead))


def test_a_runtime_that_shuts_down_is_dead(each: Opened) -> None:
    async def run() -> None:
        held = each.engine.submit(ask("held", "h", max_tokens=9))
        await anext(held)
        # it cancels what it has, which nobody asked for
        await asyncio.to_thread(each.llm._executor.shutdown)
        with pytest.raises(EngineDeadError, match=r"^the engine died: its executor is (shutting down|not healthy)"):
            await rest_of(held)
        with pytest.raises(EngineDeadError):
            each.engine.submit(ask("later"))

    asyncio.run(asyncio.wait_for(run(), 20))


def test_an_error_of_a_background_thread_is_death(opener: Opener) -> None:
    opened = opener("1.1.0")

    async def run() -> None:
        held = opened.engine.submit(ask("held", "h", max_tokens=9))
        await anext(held)
        opened.llm._executor._error_queue.put(MemoryError("no more\nstack"))
        with pytest.raises(EngineDeadError, match=r"^the engine died: MemoryError: no more$"):
            await rest_of(held)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_killed_worker_process_is_death(opener: Opener) -> None:
    code = "print(flush=True); import sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "mpi4py.futures.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        opened = opener()

        async def run() -> None:
            held = opened.engine.submit(ask("held", "h", max_tokens=9))
            await anext(held)
            worker.kill()
            with pytest.raises(EngineDeadError, match=rf"^the engine died: worker process {worker.pid} is gone$"):
                await rest_of(held)

        asyncio.run(asyncio.wait_for(run(), 20))


def test_cancel_aborts_upstreams_request_and_frees_its_slot(each: Opened) -> None:
    async def run() -> None:
        held = [each.engine.submit(ask(f"held-{n}", "h", max_tokens=9)) for n in range(4)]
        for stream in held:
            await anext(stream)
        waiting = each.engine.submit(ask("waiting", max_tokens=2))
        assert (each.engine.stats().running, each.engine.stats().waiting) == (4, 1)
        each.engine.cancel("held-2")
        [last] = await rest_of(held[2])
        assert (last.token_ids, last.finish_reason) == ((), "cancelled")
        assert text_of(await rest_of(waiting)) == "bc"
        for stream in held:
            await stream.aclose()
        await until(lambda: not each.llm._executor._running)

    asyncio.run(run())
    stats = each.engine.stats()
    assert (stats.running, stats.waiting, stats.cancelled, stats.finished) == (0, 0, 4, 1)


def test_cancel_before_the_runtime_has_the_request(opener: Opener) -> None:
    opened = opener()
    go = threading.Event()
    taken: list[tuple[list[int], dict[str, Any]]] = []
    take = opened.llm.generate_async

    def generate_async(prompt: list[int], **kwargs: Any) -> Any:
        taken.append((prompt, kwargs))
        return take(prompt, **kwargs)

    opened.llm.generate_async = generate_async

    async def run() -> list[Event]:
        opened.engine._loop.call_soon_threadsafe(go.wait)
        stream = opened.engine.submit(ask("a", "h"))
        opened.engine.cancel("a")
        go.set()
        return await rest_of(stream)

    assert [event.finish_reason for event in asyncio.run(run())] == ["cancelled"]
    assert text_of(events_of(opened.engine, ask("a", max_tokens=1, streaming=False))) == "b"
    [(prompt, kwargs)] = taken
    assert (prompt, kwargs["streaming"], kwargs["sampling_params"].max_tokens) == ([97], False, 1)


def test_a_caller_whose_loop_is_gone_frees_its_slot(opener: Opener) -> None:
    opened = opener()
    left: list[Any] = []

    async def leave() -> None:
        steps = opened.steps
        left.append(opened.engine.submit(ask("a", max_tokens=60)))
        steps.release()
        await anext(left[0])

    asyncio.run(leave())
    opened.steps.release(2)
    asyncio.run(until(lambda: opened.engine.stats().cancelled == 1))
    opened.steps.release(100)


def test_stats_are_the_runtimes(each: Opened) -> None:
    async def run() -> None:
        streams = [each.engine.submit(ask(f"held-{n}", "hxyz", max_tokens=9)) for n in range(2)]
        for stream in streams:
            await anext(stream)
        await until(lambda: each.engine.stats().extra.get("num_active_requests") == 2)
        stats = each.engine.stats()
        assert (stats.running, stats.waiting, stats.slots) == (2, 0, 4)
        assert (stats.kv_tokens, stats.kv_capacity) == (64, 3200)
        assert (stats.prompt_tokens, stats.generated_tokens) == (8, 2)
        assert 1 <= stats.steps == stats.extra["iter"]
        assert {name: value for name, value in stats.extra.items() if name != "iter"} == {
            "iter_latency_ms": 7.5,
            "num_active_requests": 2,
            "num_queued_requests": 0,
            "gpu_mem_usage": 76665782272,
            "kv_cache_stats_used_num_blocks": 2,
            "kv_cache_stats_max_num_blocks": 100,
            "kv_cache_stats_tokens_per_block": 32,
            "inflight_batching_stats_num_context_requests": 0,
            "inflight_batching_stats_avg_num_decoded_tokens_per_iter": 1,
        }
        for stream in streams:
            await stream.aclose()

    asyncio.run(run())


def test_an_engine_without_statistics_serves(opener: Opener) -> None:
    opened = opener(enable_iter_perf_stats=False)
    assert text_of(events_of(opened.engine, ask("a", max_tokens=3))) == "bcd"
    stats = opened.engine.stats()
    assert (stats.steps, stats.kv_capacity, stats.extra, stats.generated_tokens) == (0, 0, {}, 3)


def test_close_ends_streams_and_upstream(each: Opened) -> None:
    async def run() -> None:
        held = each.engine.submit(ask("held", "h", max_tokens=9))
        await anext(held)
        await asyncio.to_thread(each.engine.close)
        with pytest.raises(EngineError, match=r"^the engine was closed$") as caught:
            await rest_of(held)
        assert type(caught.value) is EngineError
        with pytest.raises(EngineError, match=r"^the engine was closed$"):
            each.engine.submit(ask("later"))

    asyncio.run(run())
    each.engine.close()
    assert each.llm._executor is None
    assert not [thread for thread in threading.enumerate() if "trtllm" in thread.name]
