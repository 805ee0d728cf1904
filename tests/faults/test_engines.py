"""Engines that run out of something, and engines that fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import engine
from tests.faults.client import Stream, prompt, request, send
from tests.faults.conftest import SLOTS, Adapter
from tests.faults.matrix import Fault, fault
from tests.faults.test_streams import lasting
from tests.faults.watch import HOLD, Scene, as_before, assert_nothing_left
from toolkit.errors import ServerError
from toolkit.serving.server import Server

pytestmark = pytest.mark.triton

CONTEXT = 2048
DEAD = "get the same error; all in under 5 s"
ENDED = "the model process ends within 2 s, the model is not ready, and `trtkit serve` ends with an error; nothing left"


def ends(streams: list[Stream], row: Fault) -> None:
    for stream in streams:
        stream.wait(5)
        assert stream.error is not None
        assert row.says.search(stream.error), stream.error


def assert_ended(server: Server) -> None:
    with pytest.raises(ServerError, match="model process died"):
        server.wait()
    server.stop()
    assert_nothing_left(server)


@fault("context-full", "prompt and answer fill the context (CPU runtime)", client="what fits, finish reason `length`")
@pytest.mark.parametrize("adapter", ["cpu"], indirect=True)
def test_context_runs_out(served: Server, adapter: Adapter, row: Fault) -> None:
    with as_before(served, lasting(adapter)):
        other = Stream(served.grpc_url, *lasting(adapter))
        full = Stream(served.grpc_url, [97] * (CONTEXT - 8), 500)
        full.wait()
        assert (len(full.tokens), full.error) == (8, None)
        assert row.says.fullmatch(str(full.finish_reason))
        assert other.error is None
        other.cancel()


@fault(
    "kv-exhausted",
    "the KV cache has no room for one request",
    client="the tokens so far, then `no KV cache block is free`",
)
def test_kv_cache_exhausted(scene: Scene, row: Fault) -> None:
    with scene.unharmed():
        failed = Stream(scene.server.grpc_url, "f", 9)
        ends([failed], row)
        assert len(failed.tokens) == 1


@fault(
    "defect",
    "an exception of no known kind in one request",
    client="`ValueError: no such luck`, and a line in Triton's log",
)
def test_unknown_exception(scene: Scene, row: Fault) -> None:
    with scene.unharmed():
        [message] = send(scene.server.grpc_url, request(prompt("x", 2)))
        assert row.says.search(message.error_message)
        assert row.says.search(scene.server.log_path.read_text())


@fault(
    "request-fails",
    "TensorRT-LLM reports an error for one request",
    client="the tokens so far, then `the request failed: Encountered an error in forward function: no luck`",
)
@pytest.mark.parametrize("adapter", ["tensorrt_llm"], indirect=True)
def test_one_request_fails(served: Server, row: Fault) -> None:
    with as_before(served, HOLD):
        other = Stream(served.grpc_url, *HOLD)
        other.wait_for(1)
        failed = Stream(served.grpc_url, "f", 9)
        ends([failed], row)
        assert len(failed.tokens) == 1
        assert other.error is None
        other.cancel()


@fault(
    "exception-mid-batch",
    "the CPU runtime's model raises in the step of a full batch",
    client="`the engine died: MemoryError: Unable to allocate 2.00 GiB`",
    others=DEAD,
    after=ENDED,
)
def test_exception_in_mid_batch(doomed: Callable[..., Server], row: Fault) -> None:
    server = doomed("cpu", factory=engine.FAILING)
    streams = [Stream(server.grpc_url, [10], 2000) for _ in range(SLOTS - 1)]
    for stream in streams:
        stream.wait_for(1)
    ends([*streams, Stream(server.grpc_url, [engine.POISON], 9)], row)
    assert_ended(server)


@fault(
    "worker-dies",
    "a worker of TensorRT-LLM breaks in mid-batch",
    client="`the engine died: RuntimeError: CUDA error: an illegal memory access was encountered`",
    others=DEAD,
    after=ENDED,
)
def test_trtllm_worker_dies(doomed: Callable[..., Server], row: Fault) -> None:
    server = doomed("tensorrt_llm")
    streams = [Stream(server.grpc_url, "h", 9) for _ in range(3)]
    for stream in streams:
        stream.wait_for(1)
    streams += [Stream(server.grpc_url, "d", 9), Stream(server.grpc_url, "a", 9)]
    ends(streams[:4], row)
    assert_ended(server)
