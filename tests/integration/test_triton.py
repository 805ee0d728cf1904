"""The real Triton server: what a client sees, what frees a slot, and what is left when something is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.metrics_port import metric
from tests.serving import toy
from toolkit import recipe as recipes
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.build import build
from toolkit.engine.bundle import Bundle
from toolkit.engine.runtime import open_engine
from toolkit.engine.runtime.protocol import Request, SamplingParams
from toolkit.errors import ClientError, DeadlineError, ServerError, UnavailableError
from toolkit.plan import make_plan
from toolkit.serving import wire
from toolkit.serving.client import Chunk, Deadlines, TritonClient
from toolkit.serving.completion import Completion, collect
from toolkit.serving.local import LocalModel
from toolkit.serving.repository import render
from toolkit.serving.server import SHM, Server

pytestmark = [pytest.mark.triton, pytest.mark.usefixtures("real_triton")]

PATIENT = Deadlines(total_s=30)
HOLD = "h"


@pytest.fixture(scope="session")
def toy_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    bundle = toy.write_bundle(folder / "bundle")
    return render(bundle, folder / "repository", max_queue_size=8, engine_factory=toy.FACTORY, coalesce=False)


@pytest.fixture(scope="session")
def server(toy_repository: Path) -> Iterator[Server]:
    with Server.start(toy_repository) as started:
        yield started


@pytest.fixture
def doomed(toy_repository: Path) -> Iterator[Server]:
    started = Server.start(toy_repository)
    yield started
    started.stop(grace_s=0)


@pytest.fixture(scope="session")
def sample_bundle(root: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("sample") / "bundle"
    recipe = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", [f"engine.output={output}"])
    with Checkpoint.open(sample) as source:
        return build(recipe, make_plan(recipe, take_census(source)), source).bundle


@pytest.fixture(scope="session")
def sample_server(sample_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = render(sample_bundle, tmp_path_factory.mktemp("sample") / "repository")
    started = Server.start(repository)
    yield started
    started.stop(grace_s=0)


def complete(url: str, prompt: str | list[int], max_tokens: int = 4, **options: Any) -> Completion:
    async def run() -> Completion:
        async with TritonClient(url) as client:
            sampling = SamplingParams(max_tokens=max_tokens)
            chunks = client.generate(prompt, **{"sampling": sampling, "deadlines": PATIENT, **options})
            return await collect(chunks, lambda delta: None)

    return asyncio.run(run())


def send(url: str, *inputs: tuple[str, str, list[int], bytes], request_id: str = "") -> list[Any]:
    """The messages that a hand-made request is answered with."""
    request = service_pb2.ModelInferRequest(model_name="tensorrt_llm", id=request_id)
    for name, datatype, shape, raw in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    with grpc.insecure_channel(url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        return list(stub.ModelStreamInfer(iter([request]), timeout=30))


def text(value: bytes) -> bytes:
    return len(value).to_bytes(4, "little") + value


def eventually(condition: Callable[[], bool], within_s: float = 20) -> None:
    """Poll until true: a cancel has no answer that could be waited for."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


async def settled(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition)


def test_streamed_deltas_are_the_whole_text(server: Server) -> None:
    [whole] = send(
        server.grpc_url,
        ("text_input", "BYTES", [1], text(b"ab")),
        ("max_tokens", "INT32", [1], (20).to_bytes(4, "little")),
        ("exclude_input_in_output", "BOOL", [1], b"\1"),
    )
    streamed = complete(server.grpc_url, "ab", 20)
    assert wire.decode(whole, 0).text == streamed.text == "cdefghijklmnopqrstuv"
    assert (streamed.prompt_tokens, streamed.output_tokens, streamed.finish_reason) == (2, 20, "length")
    assert bytes(streamed.token_ids).decode() == streamed.text


def test_text_and_ids_are_the_same_prompt(server: Server) -> None:
    by_text, by_ids = complete(server.grpc_url, "é a", 5), complete(server.grpc_url, list("é a".encode()), 5)
    assert by_text.token_ids == by_ids.token_ids == tuple(b"bcdef")


def test_logprobs_and_stop_reasons(server: Server) -> None:
    sampling = SamplingParams(max_tokens=9, stop_token_ids=(ord("c"),), logprobs=2)
    completion = complete(server.grpc_url, "a", sampling=sampling)
    assert (completion.text, completion.token_ids) == ("b", tuple(b"bc"))
    assert (completion.finish_reason, completion.stop_reason) == ("stop", str(ord("c")))
    assert [(entry.token_id, entry.top) for entry in completion.logprobs] == [
        (98, ((98, -0.5), (99, -1.5))),
        (99, ((99, -0.5), (100, -1.5))),
    ]
    by_string = complete(server.grpc_url, "a", 9, stop=("e", "zz"))
    assert (by_string.text, by_string.stop_reason) == ("bcd", "e")


def test_http_streams_with_the_names_of_the_ensemble(server: Server) -> None:
    body = {"text_input": "a", "max_tokens": 3, "stream": True, "exclude_input_in_output": True}
    events = http_stream(server, body)
    assert [event["text_output"] for event in events] == ["b", "c", "d"]


def test_http_key_that_is_no_input_is_named(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        http_stream(server, {"text_input": "a", "max_token": 3})
    with closing(caught.value) as reply:
        answer = (reply.code, json.loads(reply.read().decode().removeprefix("data: ")))
    assert answer == (400, {"error": "unknown request parameter 'max_token'. Send 'max_tokens' as an input tensor"})


def http_stream(server: Server, body: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{server.http_url}/v2/models/tensorrt_llm/generate_stream",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([("max_tokens", "INT32", [1], b"\1\0\0\0")], "send exactly one of the inputs 'text_input' and 'input_ids'"),
        (
            [("text_input", "BYTES", [1], text(b"a")), ("input_ids", "INT32", [1], b"\1\0\0\0")],
            "send exactly one of the inputs 'text_input' and 'input_ids'",
        ),
        ([("text_input", "BYTES", [1], text(b"a\xff"))], "input 'text_input' is not UTF-8 at byte 1"),
        (
            [("text_input", "BYTES", [1], text(b"a")), ("temperature", "FP32", [1], b"\0\0\xc0\x7f")],
            "input 'temperature' is nan and must be between 0 and 100",
        ),
        (
            [
                ("text_input", "BYTES", [1], text(b"a")),
                ("top_k", "INT32", [1], b"\1\0\0\0"),
                ("sampling_param_top_k", "INT32", [1], b"\1\0\0\0"),
            ],
            "inputs 'sampling_param_top_k' and 'top_k' mean the same: send one of them",
        ),
        ([("input_ids", "INT32", [0], b"")], "the prompt is empty"),
        ([("input_ids", "INT32", [64], b"\1\0\0\0" * 64)], "the prompt has 64 tokens, the context 64"),
        ([("text_input", "INT32", [1], b"\1\0\0\0")], "text_input"),
        ([("text_input", "BYTES", [2], text(b"a") * 2)], "text_input"),
        ([("text_input", "BYTES", [1, 1], text(b"a"))], "text_input"),
        ([("text_inputs", "BYTES", [1], text(b"a"))], "text_inputs"),
        ([("text_input", "BYTES", [1], (99).to_bytes(4, "little") + b"a")], "text_input"),
        ([("text_input", "BYTES", [1], text(b"a")), ("max_tokens", "INT32", [1], b"\1\0")], "max_tokens"),
    ],
)
def test_malformed_tensor_is_named_and_the_server_goes_on(server: Server, inputs: Any, message: str) -> None:
    [reply] = send(server.grpc_url, *inputs)
    with pytest.raises(ClientError) as caught:
        wire.decode(reply, 0)
    said = str(caught.value)
    assert said == message if " " in message else message in said
    assert complete(server.grpc_url, "a", 2).text == "bc"


def test_client_says_what_the_server_says(server: Server) -> None:
    with pytest.raises(ClientError, match=r"^the prompt has 64 tokens, the context 64$"):
        complete(server.grpc_url, "a" * 64)
    with pytest.raises(ClientError, match=r"^ValueError: no such luck$"):
        complete(server.grpc_url, "x")
    with pytest.raises(ClientError, match="unknown model"):
        asyncio.run(_use_other_model(server.grpc_url))


async def _use_other_model(url: str) -> None:
    async with TritonClient(url, model="other") as client:
        await client.probe()


def test_parameters(server: Server) -> None:
    async def ask() -> dict[str, str]:
        async with TritonClient(server.grpc_url) as client:
            await client.probe()
            return await client.parameters()

    assert asyncio.run(ask())["identity"] == "toy"


def test_each_deadline_is_named(server: Server) -> None:
    for deadlines, name in (
        (Deadlines(total_s=0.3), "total deadline of 0.3 s"),
        (Deadlines(first_token_s=20, idle_s=0.3), "idle deadline of 0.3 s"),
    ):
        with pytest.raises(DeadlineError, match=f"^the {name} passed$"):
            complete(server.grpc_url, HOLD, deadlines=deadlines)
    eventually(lambda: metric(server, "trtkit_running_requests") == 0)


async def open_streams(client: TritonClient, count: int, **options: Any) -> list[AsyncGenerator[Chunk, None]]:
    """Streams that will not end by themselves, each opened and, if it has a slot, past its first token."""
    sampling = SamplingParams(max_tokens=9)
    return [client.generate(HOLD, sampling=sampling, deadlines=PATIENT, **options) for _ in range(count)]


def test_cancelling_half_frees_their_slots(server: Server) -> None:
    before = metric(server, "trtkit_requests_total", outcome="cancelled")

    async def run() -> None:
        async with TritonClient(server.grpc_url) as client:
            streams = await open_streams(client, 2 * toy.SLOTS)
            running, waiting = streams[: toy.SLOTS], streams[toy.SLOTS :]
            for stream in running:
                await anext(stream)
            firsts = [asyncio.ensure_future(anext(stream)) for stream in waiting]
            await settled(lambda: metric(server, "trtkit_waiting_requests") == toy.SLOTS)
            assert metric(server, "trtkit_running_requests") == toy.SLOTS
            for stream in running:
                await stream.aclose()
            # the waiting half is served only if the slots came free
            assert [chunk.text for chunk in await asyncio.gather(*firsts)] == ["i"] * toy.SLOTS
            await settled(lambda: metric(server, "trtkit_waiting_requests") == 0)
            for stream in waiting:
                await stream.aclose()

    asyncio.run(run())
    eventually(lambda: metric(server, "trtkit_running_requests") == 0)
    assert metric(server, "trtkit_requests_total", outcome="cancelled") == before + 2 * toy.SLOTS


def test_leaving_the_loop_cancels(server: Server) -> None:
    before = metric(server, "trtkit_requests_total", outcome="cancelled")

    async def run() -> None:
        async with TritonClient(server.grpc_url) as client:
            async for _ in client.generate(HOLD, sampling=SamplingParams(max_tokens=9)):
                break
            await settled(lambda: metric(server, "trtkit_requests_total", outcome="cancelled") == before + 1)

    asyncio.run(run())


def test_client_gone_mid_stream(server: Server) -> None:
    before = metric(server, "trtkit_requests_total", outcome="cancelled")
    code = f"""
import os
from toolkit.serving import wire
from toolkit.engine.runtime.protocol import SamplingParams
import grpc
from tritonclient.grpc import service_pb2_grpc
stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel({server.grpc_url!r}))
for _ in stub.ModelStreamInfer(iter([wire.encode("tensorrt_llm", "h", SamplingParams(max_tokens=9))])):
    os.kill(os.getpid(), 9)
"""
    gone = subprocess.run([sys.executable, "-c", code], env=python_environment(), timeout=60, check=False)
    assert gone.returncode == -signal.SIGKILL
    eventually(lambda: metric(server, "trtkit_requests_total", outcome="cancelled") == before + 1)
    eventually(lambda: metric(server, "trtkit_running_requests") == 0)


def test_full_queue_is_unavailable(server: Server) -> None:
    async def run() -> None:
        async with TritonClient(server.grpc_url) as client:
            streams = await open_streams(client, toy.SLOTS + 8)
            firsts = [asyncio.ensure_future(anext(stream)) for stream in streams]
            await settled(lambda: metric(server, "trtkit_waiting_requests") == 8)
            with pytest.raises(UnavailableError, match=r"^the queue is full: 12 requests are running or waiting$"):
                await anext(client.generate("a", sampling=SamplingParams()))
            for first in firsts:
                first.cancel()
            await asyncio.gather(*firsts, return_exceptions=True)

    asyncio.run(run())
    eventually(lambda: metric(server, "trtkit_running_requests") + metric(server, "trtkit_waiting_requests") == 0)


def test_nvidias_llmapi_names_and_declared_datatypes(server: Server) -> None:
    yes = ("BOOL", [1], b"\1")
    replies = send(
        server.grpc_url,
        ("text_input", "BYTES", [1], text(b"ab")),
        ("streaming", *yes),
        ("sampling_param_max_tokens", "INT32", [1], (2).to_bytes(4, "little")),
        ("sampling_param_exclude_input_from_output", *yes),
        ("sampling_param_return_perf_metrics", *yes),
        ("return_finish_reason", *yes),
        ("return_stop_reason", *yes),
        ("return_cumulative_logprob", *yes),
        ("return_num_cached_tokens", *yes),
        ("return_response_time", *yes),
    )
    first, last = (reply.infer_response for reply in replies)
    assert {output.name: output.datatype for output in first.outputs} == {
        "text_output": "BYTES",
        "response_time_ns": "INT64",
    }
    assert {output.name: output.datatype for output in last.outputs} == {
        "text_output": "BYTES",
        "response_time_ns": "INT64",
        "finish_reason": "BYTES",
        "stop_reason": "BYTES",
        "cumulative_logprob": "FP32",
        "num_cached_tokens": "INT32",
        "arrival_time_ns": "INT64",
        "first_token_time_ns": "INT64",
        "last_token_time_ns": "INT64",
    }


def test_stop_with_the_same_id_ends_the_request(server: Server) -> None:
    async def run() -> None:
        async with TritonClient(server.grpc_url) as client:
            sampling = SamplingParams(max_tokens=9)
            stream = client.generate(HOLD, sampling=sampling, deadlines=PATIENT, request_id="mine")
            await anext(stream)
            answer = await asyncio.to_thread(send, server.grpc_url, ("stop", "BOOL", [1], b"\1"), request_id="mine")
            assert [(reply.error_message, len(reply.infer_response.outputs)) for reply in answer] == [("", 0)]
            with pytest.raises(ClientError, match="the client cancelled the request"):
                await anext(stream)

    asyncio.run(run())
    eventually(lambda: metric(server, "trtkit_running_requests") == 0)


def test_requests_that_are_too_large_are_refused_while_a_stream_goes_on(sample_server: Server) -> None:
    huge = 64 * 2**20
    requests: dict[str, tuple[str, str, list[int], bytes]] = {
        "input 'text_input' has": ("text_input", "BYTES", [1], text(b"a" * huge)),
        "input 'input_ids' has": ("input_ids", "INT32", [huge // 4], bytes(huge)),
        "input 'stop_words' has 10000 elements and may have 64": ("stop_words", "BYTES", [10_000], text(b"x") * 10_000),
    }

    async def run() -> int:
        async with TritonClient(sample_server.grpc_url) as client:
            sampling = SamplingParams(max_tokens=600, ignore_eos=True)
            stream = client.generate([10], sampling=sampling, deadlines=Deadlines(total_s=60, idle_s=20))
            count = len((await anext(stream)).token_ids)
            for message, tensor in requests.items():
                [reply] = await asyncio.to_thread(send, sample_server.grpc_url, tensor)
                assert reply.error_message.startswith(message)
            async for chunk in stream:
                count += len(chunk.token_ids)
            return count

    assert asyncio.run(run()) == 600


def test_metrics_are_prometheus_histograms(server: Server) -> None:
    complete(server.grpc_url, "ab", 4)
    with urllib.request.urlopen(server.metrics_url, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    for name in ("time_to_first_token", "time_per_output_token", "queue"):
        full = f"trtkit_{name}_seconds"
        assert f"# TYPE {full} histogram" in lines
        buckets = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{full}_bucket{{")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == metric(server, f"{full}_count")
        assert metric(server, f"{full}_sum") >= 0
    assert metric(server, "trtkit_time_to_first_token_seconds_count") > 0
    assert metric(server, "trtkit_tokens_total", kind="cached") > 0


def test_dead_engine_ends_its_streams_and_then_its_server(doomed: Server) -> None:
    async def run() -> None:
        async with TritonClient(doomed.grpc_url) as client:
            held = client.generate(HOLD, sampling=SamplingParams(max_tokens=9), deadlines=PATIENT)
            await anext(held)
            for stream in (client.generate("d", sampling=SamplingParams(), deadlines=PATIENT), held):
                with pytest.raises(ClientError, match=r"^the engine died: out of luck$"):
                    await anext(stream)

    asyncio.run(run())
    with pytest.raises(ServerError, match="model process died"):
        doomed.wait()


def test_killed_model_process(doomed: Server) -> None:
    async def run() -> None:
        async with TritonClient(doomed.grpc_url) as client:
            deadlines = Deadlines(total_s=60, first_token_s=20, idle_s=2)
            stream = client.generate(HOLD, sampling=SamplingParams(max_tokens=9), deadlines=deadlines)
            await anext(stream)
            [model] = doomed.model_pids
            os.kill(model, signal.SIGKILL)
            # a server that was talking to it just then dies with it; else only the deadline tells
            with pytest.raises(ClientError, match=r"idle deadline of 2 s passed|the server went away"):
                await anext(stream)
            with pytest.raises(ClientError, match=r"is not healthy|nothing serves there"):
                await client.probe()

    asyncio.run(run())
    with pytest.raises(ServerError, match=r"model process died|Triton was killed"):
        doomed.check()
    with pytest.raises(ServerError, match=r"model process died|Triton ended"):
        doomed.wait()
    doomed.stop()
    assert_nothing_left(doomed)


def test_killed_server_leaves_no_model_process(doomed: Server) -> None:
    os.kill(doomed.pid, signal.SIGKILL)
    with pytest.raises(ServerError, match="Triton was killed by SIGKILL"):
        doomed.wait()
    with pytest.raises(UnavailableError):
        complete(doomed.grpc_url, "a")
    doomed.stop()
    doomed.stop()
    assert_nothing_left(doomed)


def assert_nothing_left(server: Server) -> None:
    assert server.model_pids == ()
    assert not Path(f"/proc/{server.pid}").exists()
    assert not list(SHM.glob(f"{server.work.name}*"))
    assert not server.work.exists()


def test_port_in_use_is_named_before_the_start(toy_repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError) as caught:
            Server.start(toy_repository, http_port=port, log_path=log)
    assert str(caught.value) == (
        f"cannot bind http port {port} on 127.0.0.1: address already in use. --set serve.http_port=0 picks a free one"
    )
    assert not log.exists()


def test_missing_bundle_is_the_reason_in_one_line(tmp_path: Path) -> None:
    bundle = toy.write_bundle(tmp_path / "bundle")
    repository = render(bundle, tmp_path / "repository", engine_factory=toy.FACTORY)
    (tmp_path / "bundle").rename(tmp_path / "elsewhere")
    with pytest.raises(ServerError) as caught:
        Server.start(repository)
    assert str(caught.value) == (
        f"Triton did not start: {tmp_path / 'bundle'}: there is no engine bundle. Type: trtkit engine RECIPE"
    )


def test_32_streams_say_what_the_engine_alone_says(sample_bundle: Bundle, sample_server: Server) -> None:
    prompts = [[(7 * i + 3 * j) % 200 + 10 for j in range(1 + 2 * i)] for i in range(32)]
    sampling = SamplingParams(max_tokens=24, ignore_eos=True)

    async def alone() -> list[tuple[int, ...]]:
        with closing(open_engine(sample_bundle)) as engine:
            tokens = []
            for i, prompt in enumerate(prompts):
                events = engine.submit(Request(str(i), tuple(prompt), sampling))
                tokens.append(tuple([token async for event in events for token in event.token_ids]))
            return tokens

    async def served() -> list[tuple[int, ...]]:
        async with TritonClient(sample_server.grpc_url) as client:
            streams = (client.generate(prompt, sampling=sampling, deadlines=PATIENT) for prompt in prompts)
            completions = await asyncio.gather(*(collect(stream, lambda delta: None) for stream in streams))
            return [completion.token_ids for completion in completions]

    expected = asyncio.run(alone())
    assert all(len(tokens) == 24 for tokens in expected)
    assert asyncio.run(served()) == expected


def test_cancelling_half_of_32_streams_frees_their_slots(sample_server: Server) -> None:
    sampling = SamplingParams(max_tokens=1900, ignore_eos=True)
    before = metric(sample_server, "trtkit_requests_total", outcome="cancelled")

    async def run() -> None:
        async with TritonClient(sample_server.grpc_url) as client:
            streams = [client.generate([n + 10], sampling=sampling, deadlines=PATIENT) for n in range(32)]
            await asyncio.gather(*(anext(stream) for stream in streams))
            await settled(lambda: metric(sample_server, "trtkit_running_requests") == 32)
            await asyncio.gather(*(stream.aclose() for stream in streams[::2]))
            await settled(lambda: metric(sample_server, "trtkit_running_requests") == 16)
            await settled(lambda: metric(sample_server, "trtkit_requests_total", outcome="cancelled") == before + 16)
            await asyncio.gather(*(stream.aclose() for stream in streams[1::2]))

    asyncio.run(run())
    eventually(lambda: metric(sample_server, "trtkit_running_requests") == 0)


def test_triton_says_what_the_local_model_says(sample_bundle: Bundle, sample_server: Server) -> None:
    async def run() -> tuple[Completion, Completion]:
        async with TritonClient(sample_server.grpc_url) as client, LocalModel.open(sample_bundle) as local:
            sampling = SamplingParams(max_tokens=32, temperature=0.5, seed=7, repetition_penalty=1.5)
            ways = [
                model.generate("The file object", sampling=sampling, deadlines=PATIENT) for model in (client, local)
            ]
            return await collect(ways[0], lambda delta: None), await collect(ways[1], lambda delta: None)

    served, local = asyncio.run(run())
    assert served.text
    assert (served.text, served.token_ids, served.finish_reason) == (local.text, local.token_ids, local.finish_reason)


def python_environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root}


async def _drained(url: str, serve: subprocess.Popen[str]) -> int:
    """The tokens of a stream in whose midst ``trtkit serve`` is told to stop."""
    async with TritonClient(url) as client:
        sampling = SamplingParams(max_tokens=200, ignore_eos=True)
        stream = client.generate([10], sampling=sampling, deadlines=PATIENT)
        count = len((await anext(stream)).token_ids)
        serve.send_signal(signal.SIGTERM)
        async for chunk in stream:
            count += len(chunk.token_ids)
        return count


def test_serve_and_generate_from_the_command_line(sample_bundle: Bundle, root: Path, tmp_path: Path) -> None:
    trtkit = [sys.executable, "-c", "from toolkit.cli import main; main(prog_name='trtkit')"]
    overrides = ["--set", f"engine.output={sample_bundle.folder}", "--set", f"serve.repository={tmp_path / 'repo'}"]
    recipe = str(root / "recipes/tiny-gpt-oss/cpu.yaml")
    serve = subprocess.Popen(
        [*trtkit, "serve", recipe, *overrides, "--json"], stdout=subprocess.PIPE, text=True, env=python_environment()
    )
    assert serve.stdout is not None
    try:
        addresses = json.loads(serve.stdout.readline())
        args = ["generate", "The file object", "--url", addresses["grpc"], "--max-tokens", "8", "--json"]
        generate = subprocess.run(
            [*trtkit, *args], capture_output=True, text=True, env=python_environment(), timeout=60, check=True
        )
        assert asyncio.run(_drained(addresses["grpc"], serve)) == 200
        assert serve.wait(60) == 0
    finally:
        serve.kill()
        serve.stdout.close()
    completion = json.loads(generate.stdout)
    assert (completion["output_tokens"], len(completion["token_ids"])) == (8, 8)
    assert 0 < completion["ttft_s"] <= completion["total_s"]
    assert not Path(f"/proc/{addresses['pid']}").exists()
    assert (tmp_path / "repo.log").stat().st_size > 0
