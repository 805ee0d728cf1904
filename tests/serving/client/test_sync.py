from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.serving.grpc_server import error, message, served
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import ClientError, DeadlineError
from toolkit.serving.client import Deadlines, SyncTritonClient

SAMPLING = SamplingParams(max_tokens=2)


class Endless:
    """Streams until it is cancelled, and says when that was."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    async def __call__(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            while True:
                yield message(text_output="b")
                await asyncio.sleep(0)
        finally:
            self.cancelled.set()


async def one_chunk(request: Any, context: Any) -> AsyncIterator[Any]:
    yield message(text_output=f"for {request.id}", finish_reason="length")


def test_same_methods_as_the_asynchronous_one() -> None:
    with served(one_chunk) as (url, seen), SyncTritonClient(url, headers={"a": "b"}) as client:
        chunks = list(client.generate("x", sampling=SAMPLING, request_id="7", headers={"c": "d"}))
        assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("for 7", "length")]
        assert (seen.headers[0]["a"], seen.headers[0]["c"]) == ("b", "d")
        client.probe()
        assert client.parameters() == {"text_mode": "delta"}
        assert client.contract().kind == "trtkit"
        assert (client.url, client.model) == (url, "tensorrt_llm")


def test_many_threads_at_once() -> None:
    def ask(client: SyncTritonClient, number: int) -> str:
        return "".join(chunk.text for chunk in client.generate("x", sampling=SAMPLING, request_id=str(number)))

    with served(one_chunk) as (url, seen), SyncTritonClient(url) as client, ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda number: ask(client, number), range(32)))
    assert texts == [f"for {number}" for number in range(32)]
    assert seen.configs == 1


@pytest.mark.parametrize("leave", ["close", "collect"])
def test_leaving_the_iterator_cancels(leave: str) -> None:
    endless = Endless()
    with served(endless) as (url, _), SyncTritonClient(url) as client:
        chunks = client.generate("x", sampling=SAMPLING)
        next(chunks)
        if leave == "close":
            chunks.close()
        else:
            del chunks
            gc.collect()
        assert endless.cancelled.wait(20)


def test_an_iterator_collected_on_the_clients_own_thread() -> None:
    endless = Endless()
    with served(endless) as (url, _), SyncTritonClient(url) as client:
        chunks = client.generate("x", sampling=SAMPLING)
        next(chunks)
        assert client._loop is not None
        client._loop.call_soon_threadsafe(chunks.close)
        assert endless.cancelled.wait(20)
        assert client.parameters() == {"text_mode": "delta"}


def test_errors_come_through() -> None:
    async def refuses(request: Any, context: Any) -> AsyncIterator[Any]:
        yield error("the prompt is empty")

    with served(refuses) as (url, _), SyncTritonClient(url) as client:
        for _ in range(2):
            with pytest.raises(ClientError, match=r"^the prompt is empty$"):
                list(client.generate("x", sampling=SAMPLING))


def test_deadline() -> None:
    async def silent(request: Any, context: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    with served(silent) as (url, _), SyncTritonClient(url) as client:
        client.contract()
        with pytest.raises(DeadlineError, match=r"^the first-token deadline of 0\.05 s passed$"):
            list(client.generate("x", sampling=SAMPLING, deadlines=Deadlines(first_token_s=0.05)))


def test_interrupt_gives_the_request_up() -> None:
    stalled, cancelled = threading.Event(), threading.Event()

    async def stalls(request: Any, context: Any) -> AsyncIterator[Any]:
        yield message(text_output="b")
        stalled.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def interrupt() -> None:
        stalled.wait(20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with served(stalls) as (url, _), SyncTritonClient(url) as client, ThreadPoolExecutor(1) as pool:
        chunks = client.generate("x", sampling=SAMPLING)
        pool.submit(interrupt)  # nothing is asked, so nothing stalls, before the iteration begins
        with pytest.raises(KeyboardInterrupt):
            list(chunks)
        assert cancelled.wait(20)


def test_closing_the_client_ends_iterators_of_other_threads() -> None:
    asked = threading.Event()

    async def silent(request: Any, context: Any) -> AsyncIterator[Any]:
        asked.set()
        await asyncio.Event().wait()
        yield

    with served(silent) as (url, _), ThreadPoolExecutor(1) as pool:
        with SyncTritonClient(url) as client:
            waiting = pool.submit(lambda: list(client.generate("x", sampling=SAMPLING)))
            assert asked.wait(20)
        with pytest.raises(ClientError, match=r"the client (is not open|was closed)"):
            waiting.result(20)


def test_client_outside_its_block() -> None:
    client = SyncTritonClient("127.0.0.1:1")
    with pytest.raises(ClientError, match=r"^127\.0\.0\.1:1: the client is not open\. Use it inside its with block$"):
        list(client.generate("x", sampling=SAMPLING))
