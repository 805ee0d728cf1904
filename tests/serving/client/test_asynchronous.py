from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from tests.serving.grpc_server import Answer, Servicer, config, error, message, own_config, serving
from tests.serving.test_connection import make_certificate
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import (
    BusyError,
    ClientError,
    ConnectError,
    DeadlineError,
    StoppingError,
    TrtkitError,
    UnavailableError,
    UnsupportedError,
)
from toolkit.serving.client import Chunk, Deadlines, Retry, Tls, TritonClient

MODELS = Path(__file__).parents[2] / "fakes" / "triton_models"
FULL = error("the queue is full: 3 requests are running or waiting")
AT_ONCE = Retry(attempts=3, first_s=0.0)
EVERY = Deadlines(total_s=20)


async def two_chunks(request: Any, context: Any) -> AsyncIterator[Any]:
    yield message(text_output="b", output_ids=[98])
    yield message(text_output="c", output_ids=[99], finish_reason="length", num_input_tokens=[1], num_output_tokens=[2])


async def silence(request: Any, context: Any) -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield


def answering(*messages: Any) -> Answer:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        for one in messages:
            yield one

    return answer


async def chunks_of(client: TritonClient, **options: Any) -> list[Chunk]:
    options = {"sampling": SamplingParams(max_tokens=2), "deadlines": EVERY, **options}
    return [chunk async for chunk in client.generate("a", **options)]


def run(
    use: Callable[[TritonClient, Servicer], Awaitable[Any]],
    answer: Answer = two_chunks,
    served: Any = None,
    **options: Any,
) -> tuple[Any, Servicer]:
    """What ``use`` returns, with a client connected to a server that answers so; and what that server saw."""

    async def main() -> tuple[Any, Servicer]:
        async with serving(answer, served) as (url, servicer, _), TritonClient(url, **options) as client:
            return await use(client, servicer), servicer

    return asyncio.run(main())


def fails(kind: type[TrtkitError], answer: Answer, served: Any = None, **options: Any) -> tuple[str, Servicer]:
    """The error that a generation ends with, without the server's address; and what the server saw."""

    async def use(client: TritonClient, servicer: Servicer) -> str:
        with pytest.raises(kind) as caught:
            await chunks_of(client)
        assert type(caught.value) is kind
        return str(caught.value).replace(f"{client.url}: ", "")

    return run(use, answer, served, **options)


def test_headers_and_request_id_go_along_and_the_contract_is_asked_for_once() -> None:
    async def use(client: TritonClient, _: Servicer) -> list[Chunk]:
        await chunks_of(client, request_id="r1", headers={"traceparent": "00-a-b-01"})
        return await chunks_of(client)

    chunks, seen = run(use, headers={"Authorization": "Bearer x"})
    assert [(chunk.text, chunk.token_ids, chunk.finish_reason) for chunk in chunks] == [
        ("b", (98,), None),
        ("c", (99,), "length"),
    ]
    assert [request.id for request in seen.requests] == ["r1", ""]
    assert [headers.get("traceparent") for headers in seen.headers] == ["00-a-b-01", None]
    assert {headers["authorization"] for headers in seen.headers} == {"Bearer x"}
    assert seen.configs == 1


def test_bad_header_and_keepalive_are_refused_before_a_connection() -> None:
    with pytest.raises(ClientError, match="cannot be the name of a header"):
        TritonClient("h:1", headers={"a b": "c"})
    with pytest.raises(ClientError, match="a keepalive of 10 s"):
        TritonClient("h:1", keepalive_s=10)


def test_channel_options_are_grpc_s_own() -> None:
    _, seen = run(lambda client, _: chunks_of(client), channel_options=[("grpc.primary_user_agent", "probe/1")])
    assert seen.headers[0]["user-agent"].startswith("probe/1 ")


def test_full_queue_is_tried_again_before_the_first_chunk() -> None:
    replies = iter([FULL, FULL, message(text_output="b", finish_reason="length")])

    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        yield next(replies)

    chunks, seen = run(lambda client, _: chunks_of(client), answer, retry=AT_ONCE)
    assert ([chunk.text for chunk in chunks], len(seen.requests)) == (["b"], 3)


def test_full_queue_is_tried_no_more_often_than_asked() -> None:
    said, seen = fails(BusyError, answering(FULL), retry=AT_ONCE)
    assert (said, len(seen.requests)) == (FULL.error_message, 3)
    _, seen = fails(BusyError, answering(FULL))
    assert len(seen.requests) == 1


def test_nothing_is_tried_again_after_a_chunk() -> None:
    said, seen = fails(BusyError, answering(message(text_output="b"), FULL), retry=AT_ONCE)
    assert (said, len(seen.requests)) == (FULL.error_message, 1)


@pytest.mark.parametrize("said", ["the prompt is empty", "Request for unknown model: 'm' has no available versions"])
def test_other_errors_are_not_tried_again(said: str) -> None:
    kind = StoppingError if "available" in said else ClientError
    told, seen = fails(kind, answering(error(said)), retry=AT_ONCE)
    assert (told.partition(". The server is stopping")[0], len(seen.requests)) == (said, 1)


def test_deadline_holds_for_all_attempts_and_says_why_there_were_several() -> None:
    async def use(client: TritonClient, _: Servicer) -> None:
        with pytest.raises(DeadlineError) as caught:
            await chunks_of(client, deadlines=Deadlines(total_s=0.2))
        assert str(caught.value) == (
            f"the total deadline of 0.2 s passed, and the server had last said: {FULL.error_message}"
        )

    run(use, answering(FULL), retry=Retry(attempts=2, first_s=1e9, longest_s=1e9))


def test_nothing_serves_there_until_it_does() -> None:
    async def main() -> list[Chunk]:
        async with serving(two_chunks) as (url, _, server):
            await server.stop(0)
            async with TritonClient(url, retry=AT_ONCE) as client:
                with pytest.raises(ConnectError, match=f"^{url}: nothing serves there. Type: trtkit serve RECIPE$"):
                    await chunks_of(client)
            async with TritonClient(url, retry=Retry(attempts=1000, first_s=0.05, longest_s=0.05)) as client:
                waiting = asyncio.create_task(chunks_of(client))
                await asyncio.sleep(0)
                async with again(url):
                    return await waiting

    assert [chunk.text for chunk in asyncio.run(main())] == ["b", "c"]


def again(url: str) -> Any:
    return serving(two_chunks, port=int(url.rpartition(":")[2]))


def test_server_that_accepts_and_never_answers() -> None:
    async def main(url: str) -> None:
        async with TritonClient(url) as client:
            with pytest.raises(DeadlineError, match=r"^the first-token deadline of 0\.1 s passed$"):
                await chunks_of(client, deadlines=Deadlines(first_token_s=0.1))
            with pytest.raises(DeadlineError, match=r"^the total deadline of 0\.1 s passed$"):
                await client.probe(0.1)
            with pytest.raises(DeadlineError, match=r"^the total deadline of 0\.1 s passed$"):
                await client.parameters(0.1)

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        asyncio.run(main(f"127.0.0.1:{listening.getsockname()[1]}"))


@pytest.mark.parametrize(
    ("deadlines", "answer", "named"),
    [
        (Deadlines(first_token_s=0.1), silence, "first-token"),
        (Deadlines(first_token_s=20, idle_s=0.1), None, "idle"),
        (Deadlines(total_s=0.1), None, "total"),
    ],
)
def test_deadline_is_named_and_the_server_sees_a_cancel(
    deadlines: Deadlines, answer: Answer | None, named: str
) -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def stalls(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                if answer is None:
                    yield message(text_output="b")
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with serving(stalls) as (url, _, _), TritonClient(url) as client:
            await client.contract()
            with pytest.raises(DeadlineError, match=rf"^the {named} deadline of 0\.1 s passed$"):
                await chunks_of(client, deadlines=deadlines)
            await asyncio.wait_for(cancelled.wait(), 20)

    asyncio.run(main())


def test_leaving_the_iterator_cancels_on_the_server() -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def endless(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                while True:
                    yield message(text_output="b")
                    await asyncio.sleep(0)
            finally:
                cancelled.set()

        async with serving(endless) as (url, _, _), TritonClient(url) as client:
            stream = client.generate("a", sampling=SamplingParams())
            await anext(stream)
            await stream.aclose()
            await asyncio.wait_for(cancelled.wait(), 20)

    asyncio.run(main())


def test_server_that_dies_mid_stream() -> None:
    async def main() -> None:
        answered = asyncio.Event()

        async def stalls(request: Any, context: Any) -> AsyncIterator[Any]:
            yield message(text_output="b")
            answered.set()
            await asyncio.Event().wait()

        async with serving(stalls) as (url, seen, server), TritonClient(url, retry=AT_ONCE) as client:
            stream = client.generate("a", sampling=SamplingParams())
            await anext(stream)
            await answered.wait()
            rest = asyncio.create_task(anext(stream))
            await server.stop(0)
            with pytest.raises(ClientError):
                await rest
            assert len(seen.requests) == 1

    asyncio.run(main())


def test_connection_cut_mid_stream() -> None:
    async def main() -> None:
        async def stalls(request: Any, context: Any) -> AsyncIterator[Any]:
            yield message(text_output="b")
            await asyncio.Event().wait()

        async with serving(stalls) as (url, _, _), Relay(url) as (relay, cut), TritonClient(relay) as client:
            stream = client.generate("a", sampling=SamplingParams(), deadlines=EVERY)
            await anext(stream)
            cut()
            with pytest.raises(UnavailableError, match=f"^{relay}: the server went away. Type: trtkit serve RECIPE$"):
                await anext(stream)

    asyncio.run(main())


class Relay:
    """A relay to ``url`` whose connections can all be cut."""

    def __init__(self, url: str) -> None:
        self._to = url.rsplit(":", 1)
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> tuple[str, Callable[[], None]]:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}", self._cut

    async def __aexit__(self, *_: object) -> None:
        self._cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        self._writers += [writer, there_writer]
        self._tasks += [
            asyncio.create_task(self._pump(reader, there_writer)),
            asyncio.create_task(self._pump(there_reader, writer)),
        ]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


def test_ours_must_say_why_it_ended() -> None:
    said, _ = fails(ClientError, answering(message(text_output="b")))
    assert said == "the stream ended before the generation did"


def test_huge_message() -> None:
    text = "b" * (40 << 20)
    chunks, _ = run(lambda client, _: chunks_of(client), answering(message(text_output=text, finish_reason="length")))
    assert chunks[0].text == text


@pytest.mark.parametrize("method", ["ModelConfig", "ModelStreamInfer"])
def test_bytes_that_are_no_message(method: str) -> None:
    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            garbage = b"\xff\xff\xff\xff"

            async def unary(request: bytes, context: Any) -> bytes:
                whole = service_pb2.ModelConfigResponse(config=own_config()).SerializeToString()
                return garbage if method == "ModelConfig" else whole

            async def stream(requests: Any, context: Any) -> AsyncIterator[bytes]:
                yield garbage

            if details.method.endswith("ModelConfig"):
                return grpc.unary_unary_rpc_method_handler(unary)
            return grpc.stream_stream_rpc_method_handler(stream)

    async def main() -> None:
        server = grpc.aio.server(handlers=(Handler(),))
        url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            async with TritonClient(url) as client:
                with pytest.raises(ClientError, match=f"^{url}: what the server sent is no Triton message$"):
                    await chunks_of(client)
        finally:
            await server.stop(0)

    asyncio.run(main())


def test_name_that_does_not_resolve() -> None:
    async def main() -> None:
        async with TritonClient("no-such-host.invalid:1", retry=AT_ONCE) as client:
            with pytest.raises(UnavailableError, match=r"^no-such-host.invalid:1: no such host. Give HOST:PORT$"):
                await chunks_of(client)

    asyncio.run(main())


def test_port_of_something_else() -> None:
    async def main() -> None:
        async def http(reader: Any, writer: Any) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(http, "127.0.0.1", 0) as server:
            url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with TritonClient(url, retry=AT_ONCE) as client:
                with pytest.raises(UnavailableError, match=f"^{url}: something listens there, but no gRPC: "):
                    await chunks_of(client)

    asyncio.run(main())


def test_tls_both_ways(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    pair = [(key.read_bytes(), certificate.read_bytes())]
    credentials = grpc.ssl_server_credentials(pair, certificate.read_bytes(), require_client_auth=True)

    async def main() -> list[Chunk]:
        async with serving(two_chunks, credentials=credentials) as (url, _, _):
            for tls in (Tls.read(other, key, certificate), Tls.read(certificate)):
                async with TritonClient(url, tls=tls, retry=AT_ONCE) as client:
                    with pytest.raises(UnavailableError):
                        await chunks_of(client)
            async with TritonClient(url) as client:
                with pytest.raises(UnavailableError):
                    await chunks_of(client)
            async with TritonClient(url, tls=Tls.read(certificate, key, certificate)) as client:
                return await chunks_of(client)

    assert [chunk.text for chunk in asyncio.run(main())] == ["b", "c"]


def test_tls_against_a_server_without() -> None:
    said, _ = fails(UnavailableError, two_chunks, tls=Tls())
    assert said.startswith("no TLS connection: ")
    assert said.endswith("Check --tls and its files")


def test_client_outside_its_block() -> None:
    async def main() -> None:
        client = TritonClient("127.0.0.1:1")
        for _ in range(2):
            with pytest.raises(ClientError, match=r"the client is not open\. Use it inside its with block$"):
                await chunks_of(client)
            async with client:
                pass

    asyncio.run(main())


def test_closing_the_client_ends_its_open_streams() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def silent(request: Any, context: Any) -> AsyncIterator[Any]:
            asked.set()
            await asyncio.Event().wait()
            yield

        async with serving(silent) as (url, _, _):
            async with TritonClient(url) as client:
                stream = asyncio.create_task(chunks_of(client))
                await asked.wait()
            with pytest.raises(ClientError, match="the client is not open"):
                await stream

    asyncio.run(main())


def test_model_that_refuses_to_stream_answers_once() -> None:
    served = config((MODELS / "llmapi" / "tensorrt_llm" / "config.pbtxt").read_text())
    asked: list[bytes] = []

    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        names = [tensor.name for tensor in request.inputs]
        asked.append(request.raw_input_contents[names.index("streaming")])
        if asked[-1] == b"\1":
            yield error("Error generating request: Streaming is only supported in decoupled mode.")
        else:
            yield message(text_output="bc", finish_reason="length", stop_reason="None")

    async def use(client: TritonClient, _: Servicer) -> list[Chunk]:
        return [*await chunks_of(client), *await chunks_of(client)]

    chunks, _ = run(use, answer, served)
    assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("bc", "length")] * 2
    assert asked == [b"\1", b"\0", b"\0"]


def test_unsupported_parameter_is_refused_before_it_is_sent() -> None:
    served = config((MODELS / "llmapi" / "tensorrt_llm" / "config.pbtxt").read_text())

    async def use(client: TritonClient, servicer: Servicer) -> None:
        with pytest.raises(UnsupportedError, match=r"^model 'tensorrt_llm' takes no min_p\. Leave it out$"):
            await chunks_of(client, sampling=SamplingParams(min_p=0.5))
        assert servicer.requests == []

    run(use, two_chunks, served)


def test_parameters_and_probe() -> None:
    async def use(client: TritonClient, _: Servicer) -> dict[str, str]:
        await client.probe()
        return await client.parameters()

    parameters, seen = run(use, two_chunks, own_config(identity="x"))
    assert parameters == {"text_mode": "delta", "identity": "x"}
    assert next(tensor.name for tensor in seen.requests[0].inputs) == "input_ids"


def test_server_that_comes_back_as_another_is_asked_again() -> None:
    async def use(client: TritonClient, servicer: Servicer) -> list[Chunk]:
        with pytest.raises(UnavailableError):
            await chunks_of(client)
        servicer.answer = two_chunks
        return await chunks_of(client)

    _, seen = run(use, answering(error("Request for unknown model: 'm' has no available versions")))
    assert seen.configs == 2
