"""Signals, and requests that end Triton itself."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.faults.client import Stream, Tensor, connection, prompt, request, send
from tests.faults.conftest import SLOTS, Adapter
from tests.faults.matrix import Fault, fault
from tests.faults.test_streams import lasting
from tests.faults.watch import assert_nothing_left, busy, eventually, regions
from toolkit.errors import ServerError
from toolkit.serving.server import Server

pytestmark = pytest.mark.triton

NOTHING = "nothing left"
LONG = 300
KNOWN = " (Triton 24.10; fixed upstream by {})"


@fault(
    "sigterm",
    f"SIGTERM while {SLOTS} streams run and {SLOTS} wait",
    client="a new request: `Request for unknown model: 'tensorrt_llm' has no available versions`, "
    "or no connection once the server is gone",
    others="all end whole, those that waited too",
    after=NOTHING,
)
def test_sigterm_under_load(doomed: Callable[..., Server], row: Fault) -> None:
    server = doomed("cpu")
    streams = [Stream(server.grpc_url, [10], LONG) for _ in range(2 * SLOTS)]
    eventually(lambda: busy(server), (SLOTS, SLOTS))
    stopper = threading.Thread(target=server.stop, args=(30,))
    stopper.start()
    refusals = list(refused(server))
    for stream in streams:
        stream.wait()
        assert (len(stream.tokens), stream.finish_reason, stream.error) == (LONG, "length", None)
    assert all(row.says.search(said) or "UNAVAILABLE" in said for said in refusals), refusals
    assert any(row.says.search(said) for said in refusals), refusals
    stopper.join()
    assert_nothing_left(server)


def refused(server: Server) -> Iterator[str]:
    """How the server answers new requests from when it first refuses one until it is gone."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            [*_, message] = send(server.grpc_url, request(prompt([10], 1)), limit_s=10)
        except grpc.RpcError as error:
            yield f"{error.code().name}: {error.details()}"
            return
        if message.error_message:
            yield message.error_message
        time.sleep(0.1)


@fault(
    "sigterm-endless",
    "a stop while a stream will not end within the grace",
    client="gRPC status `UNAVAILABLE`",
    others="the same",
    after=NOTHING,
)
def test_stop_with_an_endless_stream(doomed: Callable[..., Server], row: Fault) -> None:
    server = doomed("tensorrt_llm")
    stream = Stream(server.grpc_url, "h", 9)
    stream.wait_for(1)
    server.stop(grace_s=1)
    stream.wait(5)
    assert stream.error is not None
    assert row.says.search(stream.error)
    assert_nothing_left(server)


@fault(
    "model-killed",
    "SIGKILL of the model process (both adapters)",
    client="a new request: `Stub process '…' is not healthy`; the stream itself: Triton is silent, "
    "so its deadline, or the end of the server",
    others="the same",
    after="`trtkit serve` sees it within 1 s, ends with an error and with it every stream; nothing left",
)
def test_model_process_killed(doomed: Callable[..., Server], adapter: Adapter, row: Fault) -> None:
    server = doomed(adapter)
    patient = Stream(server.grpc_url, *lasting(adapter))
    hurried = Stream(server.grpc_url, *lasting(adapter), limit_s=3)
    for stream in (patient, hurried):
        stream.wait_for(1)
    [model] = server.model_pids
    os.kill(model, signal.SIGKILL)
    with pytest.raises(ServerError, match=r"model process died|Triton ended|Triton was killed"):
        server.wait()
    assert says_dead(server, row)
    hurried.wait(5)
    assert hurried.error is not None
    assert hurried.error.startswith(("DEADLINE_EXCEEDED", "UNAVAILABLE"))
    server.stop()
    patient.wait(5)
    assert patient.error is not None
    assert patient.error.startswith("UNAVAILABLE")
    assert_nothing_left(server)


def says_dead(server: Server, row: Fault) -> bool:
    """Triton now and then dies with its model process; then nothing answers at all."""
    try:
        [message] = send(server.grpc_url, request(prompt([97], 1)), limit_s=10)
    except grpc.RpcError as error:
        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
    return bool(row.says.search(message.error_message))


@fault(
    "server-killed",
    f"SIGKILL of the server with {SLOTS} streams running and one waiting",
    client="gRPC status `UNAVAILABLE`, at once",
    others="the same",
    after="`trtkit serve` sees it within 1 s and ends with an error and the model process that Triton leaves; "
    "nothing left",
)
def test_server_killed(doomed: Callable[..., Server], row: Fault) -> None:
    server = doomed("cpu")
    streams = [Stream(server.grpc_url, [10], 2000) for _ in range(SLOTS + 1)]
    eventually(lambda: busy(server), (SLOTS, 1))
    os.kill(server.pid, signal.SIGKILL)
    for stream in streams:
        stream.wait(5)
        assert stream.error is not None
        assert row.says.search(stream.error), stream.error
    assert regions(server)
    with pytest.raises(ServerError, match="Triton was killed by SIGKILL"):
        server.wait()
    server.stop()
    assert_nothing_left(server)


@fault(
    "overflow",
    "a shape whose size in bytes overflows: 2^62 INT32 and no bytes" + KNOWN.format("server pull request 8182"),
    client="`Stub process '…' is not healthy`: it has died",
    others="as with SIGKILL of the model process",
    after="as with SIGKILL of the model process",
)
def test_overflowing_shape(doomed: Callable[..., Server], row: Fault) -> None:
    server = doomed("tensorrt_llm")
    stream = Stream(server.grpc_url, "h", 9)
    stream.wait_for(1)
    [message] = send(server.grpc_url, request([Tensor("input_ids", "INT32", (2**62,), b"")]), limit_s=10)
    assert row.says.search(message.error_message)
    with pytest.raises(ServerError, match="model process died"):
        server.wait()
    server.stop()
    stream.wait(5)
    assert stream.error is not None
    assert_nothing_left(server)


@fault(
    "lying-length-codes",
    "up to 200 lying BYTES lengths, sent with the header `triton_grpc_error: true`",
    client="INVALID_ARGUMENT `incomplete string data for inference input 'text_input'`, then UNAVAILABLE: "
    "Triton 24.10 ends with SIGSEGV after a few. trtkit's client does not send the header",
    others="gRPC status UNAVAILABLE once it has ended",
    after="as with SIGKILL of the server",
)
def test_lying_lengths_with_codes(doomed: Callable[..., Server], row: Fault) -> None:
    server = doomed("tensorrt_llm")
    stream = Stream(server.grpc_url, "h", 9)
    stream.wait_for(1)
    liar = request([Tensor("text_input", "BYTES", (1,), struct.pack("<I", 99) + b"a")])
    said = []
    for _ in range(200):
        with connection(server.grpc_url) as stub, pytest.raises(grpc.RpcError) as caught:
            list(stub.ModelStreamInfer(iter([liar]), timeout=10, metadata=(("triton_grpc_error", "true"),)))
        said.append((caught.value.code(), caught.value.details()))
        if caught.value.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            break
    *refusals, (code, _) = said
    assert all(row.says.search(text) for _, text in refusals)
    if code is grpc.StatusCode.UNAVAILABLE:
        with pytest.raises(ServerError, match="Triton was killed by SIGSEGV"):
            server.wait()
    server.stop(grace_s=0)
    stream.wait(5)
    assert stream.error is not None
    assert_nothing_left(server)
