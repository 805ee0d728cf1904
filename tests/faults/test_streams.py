"""Clients that leave, wait, hurry or do not read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from tests.faults.client import Stream, ask, connection, ids, post_only, prompt, request, send, tensor
from tests.faults.conftest import QUEUE, SLOTS, Adapter
from tests.faults.matrix import Fault, fault
from tests.faults.watch import HOLD, Scene, as_before, busy, eventually, outcomes, resident_bytes
from toolkit.serving.server import Server

pytestmark = pytest.mark.triton

MIB = 2**20
DROPPED = 500
HURRIED = 300
UNREAD_TOKENS = 20_000


def hold(server: Server, adapter: Adapter, count: int) -> list[Stream]:
    """Streams that last longer than the test, each past its first token."""
    streams = [Stream(server.grpc_url, *lasting(adapter)) for _ in range(count)]
    for stream in streams:
        stream.wait_for(1)
    return streams


def lasting(adapter: Adapter) -> tuple[str | list[int], int]:
    return ([10], 2000) if adapter == "cpu" else HOLD


@fault("cancel-running", "the client cancels a stream (both adapters)", client="gRPC status CANCELLED", others="go on")
def test_cancel_while_running(served: Server, adapter: Adapter) -> None:
    with as_before(served, lasting(adapter)):
        before = outcomes(served, "cancelled")
        gone, other = hold(served, adapter, 2)
        gone.cancel()
        eventually(lambda: outcomes(served, "cancelled"), before + 1)
        eventually(lambda: busy(served), (1, 0))
        assert other.error is None
        other.cancel()
    assert gone.error is not None
    assert gone.error.startswith("CANCELLED")


@fault(
    "cancel-queued",
    "the client cancels a request that waits for a slot (both adapters)",
    client="gRPC status CANCELLED",
)
def test_cancel_while_queued(served: Server, adapter: Adapter) -> None:
    with as_before(served, lasting(adapter)):
        running = hold(served, adapter, SLOTS)
        queued = Stream(served.grpc_url, *lasting(adapter))
        eventually(lambda: busy(served), (SLOTS, 1))
        queued.cancel()
        eventually(lambda: busy(served), (SLOTS, 0))
        assert [stream.error for stream in running] == [None] * SLOTS
        for stream in running:
            stream.cancel()
    assert queued.tokens == []


@fault("stop", "`stop` with a running request's id (both adapters)", client="`the client cancelled the request`")
def test_stop_by_id(served: Server, adapter: Adapter, row: Fault) -> None:
    with as_before(served, lasting(adapter)), connection(served.grpc_url) as stub:
        [other] = hold(served, adapter, 1)
        call = stub.ModelStreamInfer(iter([request(prompt(*lasting(adapter)), request_id="mine")]), timeout=30)
        assert ids(next(call))
        send(served.grpc_url, request([tensor("stop", "BOOL", True)], request_id="mine"))
        *_, last = call
        assert row.says.search(last.error_message)
        assert other.error is None
        other.cancel()


@fault("disconnect", "the client's connection breaks in mid-stream, HTTP (both adapters)", client="nothing")
def test_disconnect(served: Server, adapter: Adapter) -> None:
    with as_before(served, lasting(adapter)):
        before = outcomes(served, "cancelled")
        [other] = hold(served, adapter, 1)
        body = {"text_input": "h", "max_tokens": 1900, "stream": True, "ignore_eos": True}
        with post_only(served.http_url, json.dumps(body).encode()) as made:
            assert b"200 OK" in made.recv(65536)
        eventually(lambda: outcomes(served, "cancelled"), before + 1)
        assert other.error is None
        other.cancel()


@fault("client-killed", "SIGKILL of a client with four streams (both adapters)", client="nothing")
def test_killed_client(served: Server, adapter: Adapter, root: Path) -> None:
    code = f"""
import os
from tests.faults.client import Stream
streams = [Stream({served.grpc_url!r}, *{lasting(adapter)!r}) for _ in range(4)]
for stream in streams:
    stream.wait_for(1)
os.kill(os.getpid(), 9)
"""
    with as_before(served, lasting(adapter)):
        before = outcomes(served, "cancelled")
        environment = {**os.environ, "PYTHONPATH": str(root)}
        gone = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=False)
        assert gone.returncode == -signal.SIGKILL
        eventually(lambda: outcomes(served, "cancelled"), before + 4)


@fault("slots-taken", "every slot is taken (both adapters)", client="a wait, then a whole answer")
def test_waits_for_a_slot(served: Server, adapter: Adapter) -> None:
    with as_before(served, lasting(adapter)):
        running = hold(served, adapter, SLOTS)
        queued = Stream(served.grpc_url, [97], 3)
        eventually(lambda: busy(served), (SLOTS, 1))
        running[0].cancel()
        queued.wait()
        assert (len(queued.tokens), queued.finish_reason, queued.error) == (3, "length", None)
        for stream in running[1:]:
            stream.cancel()


def _calls(url: str, count: int, **options: Any) -> tuple[list[grpc.aio.Channel], list[Any]]:
    """``count`` held streams, a hundred on each connection, as gRPC's servers allow by default."""
    channels = [
        grpc.aio.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(count // 100 + 1)
    ]
    held = request(prompt(*HOLD))
    stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
    return channels, [stubs[n // 100].ModelStreamInfer(iter([held]), **options) for n in range(count)]


async def _close(channels: list[grpc.aio.Channel]) -> None:
    for channel in channels:
        await channel.close()


@fault("dropped", f"{DROPPED} streams opened and dropped at once", client="gRPC status CANCELLED")
def test_streams_opened_and_dropped(scene: Scene) -> None:
    async def run() -> None:
        channels, calls = _calls(scene.server.grpc_url, DROPPED)
        firsts = [asyncio.ensure_future(call.read()) for call in calls]
        await asyncio.to_thread(eventually, lambda: sum(busy(scene.server)), DROPPED + 1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*firsts, return_exceptions=True)
        assert [await call.code() for call in calls] == [grpc.StatusCode.CANCELLED] * DROPPED
        await _close(channels)

    with scene.unharmed():
        before = outcomes(scene.server, "cancelled")
        asyncio.run(run())
        eventually(lambda: outcomes(scene.server, "cancelled"), before + DROPPED)


@fault("abandoned", f"{DROPPED} streams whose connections close in the moment of opening", client="nothing")
def test_streams_dropped_while_they_open(scene: Scene) -> None:
    async def run() -> None:
        channels, calls = _calls(scene.server.grpc_url, DROPPED)
        reads = [asyncio.ensure_future(call.read()) for call in calls]
        await calls[0].wait_for_connection()
        await _close(channels)
        await asyncio.gather(*reads, return_exceptions=True)

    with scene.unharmed():
        asyncio.run(run())


@fault(
    "deadline-storm",
    f"{HURRIED} streams with deadlines of 1 to {HURRIED} ms",
    client="gRPC status DEADLINE_EXCEEDED",
)
def test_deadline_storm(scene: Scene) -> None:
    held = request(prompt(*HOLD))
    with scene.unharmed(), connection(scene.server.grpc_url) as stub:
        calls = [stub.ModelStreamInfer(iter([held]), timeout=(n + 1) / 1000) for n in range(HURRIED)]
        assert [call.code() for call in calls] == [grpc.StatusCode.DEADLINE_EXCEEDED] * HURRIED


@fault(
    "queue-full",
    "more requests than slots and queue take",
    client=f"`the queue is full: {SLOTS + QUEUE} requests are running or waiting`",
)
def test_full_queue(scene: Scene, row: Fault) -> None:
    room = SLOTS + QUEUE - 1

    async def run() -> None:
        channels, calls = _calls(scene.server.grpc_url, room)
        reads = [asyncio.ensure_future(call.read()) for call in calls]
        await asyncio.to_thread(eventually, lambda: sum(busy(scene.server)), room + 1)
        [refused] = await asyncio.to_thread(send, scene.server.grpc_url, request(prompt("a", 2)))
        assert row.says.search(refused.error_message), refused.error_message
        await _close(channels)
        await asyncio.gather(*reads, return_exceptions=True)

    with scene.unharmed():
        asyncio.run(run())


@fault("silent", "100 gRPC streams on which nothing is ever sent", client="nothing")
def test_streams_without_a_request(scene: Scene) -> None:
    async def run() -> None:
        async with grpc.aio.insecure_channel(scene.server.grpc_url) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            calls = [stub.ModelStreamInfer() for _ in range(100)]
            await asyncio.gather(*(call.wait_for_connection() for call in calls))
            assert len(await asyncio.to_thread(ask, scene.server.grpc_url, "a")) == 2

    with scene.unharmed():
        asyncio.run(run())


@fault("half-sent", "100 HTTP requests whose body never comes", client="nothing")
def test_half_sent_bodies(scene: Scene) -> None:
    with scene.unharmed(), ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(post_only(scene.server.http_url, b'{"text_input": ', length=10_000))
        assert len(ask(scene.server.grpc_url, "a")) == 2


@fault(
    "slow-reader",
    f"three gRPC clients that do not read the {UNREAD_TOKENS} tokens they asked for",
    client="everything, in order, once it reads",
    after="as before: the slots are free when the tokens are made, and what is unread waits in Triton's memory "
    "(less than 64 MiB here; a server's worst case is its slots × max_tokens)",
)
def test_slow_readers(scene: Scene) -> None:
    before, finished = resident_bytes(scene.server.pid), outcomes(scene.server, "completed")
    asked = request((*prompt("a", UNREAD_TOKENS), tensor("logprobs", "INT32", 3)))
    with scene.unharmed(), ExitStack() as stack:
        calls = []
        for _ in range(3):
            options = (
                ("grpc.http2.lookahead_bytes", 1),
                ("grpc.http2.bdp_probe", 0),
                ("grpc.use_local_subchannel_pool", 1),
            )
            stub = stack.enter_context(connection(scene.server.grpc_url, *options))
            calls.append(stub.ModelStreamInfer(iter([asked]), timeout=60))
        eventually(lambda: outcomes(scene.server, "completed"), finished + 3, within_s=60)
        assert busy(scene.server)[1] == 0
        assert resident_bytes(scene.server.pid) - before < 64 * MIB
        expected = [ord("a") + (1 + n) % 26 for n in range(UNREAD_TOKENS)]
        for call in calls:
            assert [token for message in call for token in ids(message)] == expected


@fault(
    "slow-http-reader",
    f"an HTTP client that does not read the {UNREAD_TOKENS} tokens it asked for, and then leaves",
    client="nothing",
)
def test_slow_http_reader(scene: Scene) -> None:
    finished = outcomes(scene.server, "completed")
    body = {"text_input": "a", "max_tokens": UNREAD_TOKENS, "stream": True, "return_output_ids": True}
    with scene.unharmed(), post_only(scene.server.http_url, json.dumps(body).encode(), receive_bytes=4096):
        eventually(lambda: outcomes(scene.server, "completed"), finished + 1)
