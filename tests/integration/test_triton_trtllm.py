"""The real Triton serves a TensorRT-LLM bundle, whose LLM API a stand-in gives; and a Triton as images have it."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import trtllm
from tests.serving import toy
from toolkit.cli import main
from toolkit.engine.runtime.protocol import SamplingParams
from toolkit.errors import ClientError, ServerError
from toolkit.serving import triton
from toolkit.serving.client import Deadlines, TritonClient
from toolkit.serving.completion import Completion, collect
from toolkit.serving.local import LocalModel
from toolkit.serving.repository import render
from toolkit.serving.server import Server

pytestmark = [pytest.mark.triton, pytest.mark.usefixtures("real_triton")]

PATIENT = Deadlines(total_s=30)
DEATH = "the engine died: RuntimeError: CUDA error: an illegal memory access was encountered"


@pytest.fixture(scope="module", params=trtllm.RELEASES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("trtllm")
    bundle = trtllm.write_bundle(folder / "bundle", release=request.param)
    repository = render(bundle, folder / "repository", engine_factory=trtllm.FACTORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_TRTLLM_RELEASE", request.param)
        started = Server.start(repository)
    yield started
    started.stop(grace_s=0)


async def whole(client: TritonClient | LocalModel, prompt: str, **sampling: Any) -> Completion:
    chunks = client.generate(prompt, sampling=SamplingParams(**{"max_tokens": 9, **sampling}), deadlines=PATIENT)
    return await collect(chunks, lambda delta: None)


def metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


async def settled(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it never came true"


def test_a_streamed_completion(server: Server, request: pytest.FixtureRequest) -> None:
    async def run() -> tuple[Completion, list[str]]:
        deltas: list[str] = []
        async with TritonClient(server.grpc_url) as client:
            sampling = SamplingParams(max_tokens=6, logprobs=1)
            chunks = client.generate("ab", sampling=sampling, deadlines=PATIENT)
            return await collect(chunks, deltas.append), deltas

    completion, deltas = asyncio.run(run())
    assert (completion.text, "".join(deltas)) == ("cdefgh", "cdefgh")
    assert completion.token_ids == tuple(b"cdefgh")
    assert (completion.prompt_tokens, completion.output_tokens, completion.finish_reason) == (2, 6, "length")
    only_chosen = "1.1.0" in request.node.name
    assert [(entry.token_id, entry.logprob, entry.top) for entry in completion.logprobs] == [
        (token, -0.5, () if only_chosen else ((token, -0.5),)) for token in b"cdefgh"
    ]


def test_ends_and_their_reasons(server: Server) -> None:
    async def run() -> list[Completion]:
        async with TritonClient(server.grpc_url) as client:
            return [
                await whole(client, "w"),
                await whole(client, "w", ignore_eos=True, max_tokens=5),
                await whole(client, "a", stop_token_ids=(ord("d"),)),
            ]

    ended, ignored, stopped = asyncio.run(run())
    assert (ended.text, ended.finish_reason, ended.stop_reason) == ("xy", "stop", str(ord("z")))
    assert (ignored.text, ignored.finish_reason) == ("xyzab", "length")
    assert (stopped.text, stopped.stop_reason) == ("bc", str(ord("d")))


def test_a_failing_request_fails_alone(server: Server) -> None:
    async def run() -> None:
        async with TritonClient(server.grpc_url) as client:
            held = client.generate("h", sampling=SamplingParams(max_tokens=9), deadlines=PATIENT)
            await anext(held)
            for prompt, said in (("f", "the request failed: .* no luck"), ("n", "default_max_tokens")):
                with pytest.raises(ClientError, match=said):
                    await whole(client, prompt)
            assert (await whole(client, "a", max_tokens=2)).text == "bc"
            await held.aclose()

    asyncio.run(run())


def test_cancelling_frees_the_slots(server: Server) -> None:
    async def run() -> None:
        async with TritonClient(server.grpc_url) as client:
            held = [client.generate("h", sampling=SamplingParams(max_tokens=9), deadlines=PATIENT) for _ in range(4)]
            for stream in held:
                await anext(stream)
            waiting = asyncio.ensure_future(whole(client, "a", max_tokens=2))
            await settled(lambda: metric(server, "trtkit_waiting_requests") == 1)
            await held[0].aclose()
            assert (await waiting).text == "bc"
            for stream in held[1:]:
                await stream.aclose()
            await settled(lambda: metric(server, "trtkit_running_requests") == 0)

    asyncio.run(run())


def test_a_dead_engine_ends_every_stream_and_is_reported(server: Server) -> None:
    """The last of this file's tests of a server, which does not live on."""

    async def run() -> None:
        async with TritonClient(server.grpc_url) as client:
            held = client.generate("h", sampling=SamplingParams(max_tokens=9), deadlines=PATIENT)
            await anext(held)
            with pytest.raises(ClientError, match=DEATH):
                await whole(client, "d")
            with pytest.raises(ClientError, match=DEATH):
                await anext(held)

    asyncio.run(asyncio.wait_for(run(), 20))
    with pytest.raises(ServerError, match=r"model process died|Triton ended"):
        server.wait()


def test_served_local_and_the_command_line_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trtllm.install(monkeypatch)
    bundle = trtllm.write_bundle(tmp_path / "bundle")

    async def local() -> Completion:
        async with LocalModel.open(bundle) as model:
            return await whole(model, "ab", max_tokens=4)

    assert asyncio.run(local()).text == "cdef"
    argv = ["generate", "ab", "--local", str(bundle.folder / "recipe.yaml"), "--max-tokens", "4"]
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert (ended.value.code, capsys.readouterr().out.strip()) == (0, "cdef")


def test_a_triton_laid_out_as_in_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = triton.find()
    assert wheel.stub is not None
    folder = tmp_path / "tritonserver"
    (folder / "backends" / "python").mkdir(parents=True)
    (folder / "bin").symlink_to(wheel.folder / "bin")
    for name in triton.BACKEND_FILES:
        (folder / "backends" / "python" / name).symlink_to(wheel.folder / "backends" / "python" / name)
    stub = shutil.copy(wheel.stub, folder / "backends" / "python" / triton.STUB)
    Path(stub).chmod(0o755)
    # a container's stub finds its libraries by itself
    monkeypatch.setenv("LD_LIBRARY_PATH", wheel.environment(os.environ)["LD_LIBRARY_PATH"])
    monkeypatch.setenv(triton.VARIABLE, str(folder))
    repository = render(toy.write_bundle(tmp_path / "bundle"), tmp_path / "repository", engine_factory=toy.FACTORY)

    async def run(url: str) -> Completion:
        async with TritonClient(url) as client:
            return await whole(client, "a", max_tokens=3)

    with Server.start(repository) as started:
        assert asyncio.run(run(started.grpc_url)).text == "bcd"
