"""Servers for the fault tests: one with a stream beside every fault, one of each adapter, and ones to be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.fakes import trtllm
from tests.faults import engine
from tests.faults.client import FOREVER, Stream
from tests.faults.matrix import Fault
from tests.faults.watch import Scene
from tests.serving import toy
from toolkit import recipe as recipes
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.build import build
from toolkit.engine.bundle import Bundle
from toolkit.plan import make_plan
from toolkit.serving.repository import ENGINE_FACTORY, render
from toolkit.serving.server import Server

Adapter = Literal["cpu", "tensorrt_llm"]
SLOTS = 4
QUEUE = 600


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Fault:
    """The row that a test with one row declares."""
    [declared] = request.function.faults
    assert isinstance(declared, Fault)
    return declared


@pytest.fixture(autouse=True)
def _no_stream_stays() -> Iterator[None]:
    before = len(Stream.opened)
    yield
    for stream in Stream.opened[before:]:
        stream.cancel()
    del Stream.opened[before:]


@pytest.fixture(scope="session")
def scene(real_triton: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("paced")
    bundle = toy.write_bundle(folder / "bundle")
    repository = render(bundle, folder / "repository", max_queue_size=QUEUE, engine_factory=engine.PACED)
    server = Server.start(repository)
    beside = Stream(server.grpc_url, "pa", FOREVER)
    beside.wait_for(1)
    yield Scene(server, beside)
    beside.cancel()
    server.stop(grace_s=0)


@pytest.fixture(scope="session")
def cpu_bundle(root: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("cpu") / "bundle"
    overrides = [f"engine.output={output}", f"engine.max_batch_size={SLOTS}"]
    recipe = recipes.load(root / "recipes/tiny-gpt-oss/cpu.yaml", overrides)
    with Checkpoint.open(sample) as source:
        return build(recipe, make_plan(recipe, take_census(source)), source).bundle


@pytest.fixture(scope="session")
def trtllm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return trtllm.write_bundle(tmp_path_factory.mktemp("trtllm") / "bundle")


@pytest.fixture(scope="session")
def start(
    real_triton: None, cpu_bundle: Bundle, trtllm_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Server]:
    """Serve one adapter; whoever starts it stops it."""

    def serve(adapter: Adapter, *, factory: str | None = None) -> Server:
        folder = tmp_path_factory.mktemp("repository")
        bundle, usual = (cpu_bundle, ENGINE_FACTORY) if adapter == "cpu" else (trtllm_bundle, trtllm.FACTORY)
        repository = render(bundle, folder / "repository", max_queue_size=QUEUE, engine_factory=factory or usual)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAKE_TRTLLM_RELEASE", "1.2.1")
            return Server.start(repository)

    return serve


@pytest.fixture(scope="session", params=["cpu", "tensorrt_llm"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    name: Adapter = request.param
    return name


@pytest.fixture(scope="session")
def served(adapter: Adapter, start: Callable[..., Server]) -> Iterator[Server]:
    """Each adapter in turn, for faults that a server survives."""
    server = start(adapter)
    yield server
    server.stop(grace_s=0)


@pytest.fixture
def doomed(start: Callable[..., Server]) -> Iterator[Callable[..., Server]]:
    """``start`` for servers that do not survive the test."""
    started: list[Server] = []

    def serve(adapter: Adapter, *, factory: str | None = None) -> Server:
        started.append(start(adapter, factory=factory))
        return started[-1]

    yield serve
    for server in started:
        server.stop(grace_s=0)
