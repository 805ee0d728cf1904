"""What is held to be true of a server after every fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.client import LIMIT_S, Stream, ask
from tests.metrics_port import metric
from toolkit.serving.server import SHM, Server

PROMPT = [97]
HOLD = ("h", 9)
"""What the toy and the stand-in of TensorRT-LLM answer with one token and then nothing."""


def eventually(read: Callable[[], object], expected: object, within_s: float = LIMIT_S) -> None:
    """Poll until ``read`` gives ``expected``: a cancel has no answer that could be waited for."""
    deadline = time.monotonic() + within_s
    while (value := read()) != expected:
        assert time.monotonic() < deadline, f"it stays {value} and does not become {expected}"
        time.sleep(0.02)


def outcomes(server: Server, outcome: str) -> float:
    return metric(server, "trtkit_requests_total", outcome=outcome)


def busy(server: Server) -> tuple[float, float]:
    """Requests that run, and that wait."""
    return metric(server, "trtkit_running_requests"), metric(server, "trtkit_waiting_requests")


def regions(server: Server) -> dict[str, int]:
    """The server's shared memory: region → bytes."""
    return {path.name: path.stat().st_size for path in SHM.glob(f"{server.work.name}*")}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@contextmanager
def as_before(
    server: Server, lasting: tuple[str | list[int], int] | None, *, beside: Stream | None = None
) -> Iterator[None]:
    """Afterwards nothing runs but the stream ``beside``, which has gone on, and the next request is answered.

    Triton's gauges are a moment old: only once they show a new request do they show that nothing is left of the old
    ones. So ``lasting`` asks for a stream that lasts; None is for requests that no engine ever saw.
    """
    others = int(beside is not None)
    before = set(regions(server))
    yield
    if beside is not None:
        beside.wait_for(len(beside.tokens) + 3)
        assert beside.error is None
    eventually(lambda: busy(server), (others, 0))
    if lasting is not None:
        fresh = Stream(server.grpc_url, *lasting)
        eventually(lambda: busy(server), (others + 1, 0))
        fresh.cancel()
        eventually(lambda: busy(server), (others, 0))
    assert len(ask(server.grpc_url, PROMPT)) == 2
    assert set(regions(server)) == before
    server.check()


def assert_nothing_left(server: Server) -> None:
    assert server.model_pids == ()
    assert not Path(f"/proc/{server.pid}").exists()
    assert not regions(server)
    assert not server.work.exists()


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with a stream that runs beside whatever happens to it."""

    server: Server
    beside: Stream

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        with as_before(self.server, HOLD, beside=self.beside):
            yield
        assert self.beside.tokens == [ord("a") + (1 + n) % 26 for n in range(len(self.beside.tokens))]

    @contextmanager
    def refuses(self) -> Iterator[None]:
        """``unharmed`` by a request that never gets to the engine."""
        with as_before(self.server, None, beside=self.beside):
            yield
