"""Signs of death of each release's executor."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.engine.runtime.tensorrt_llm.health import failure, worker_pids


class RequestError(RuntimeError):
    """Of the same name as TensorRT-LLM's."""


def queued(*errors: object) -> Any:
    queue: Queue[object] = Queue()
    for error in errors:
        queue.put(error)
    return queue


def ended(error: Exception | None) -> Any:
    future: Future[None] = Future()
    future.set_exception(error) if error else future.set_result(None)
    return future


def cancelled() -> Any:
    future: Future[None] = Future()
    future.cancel()
    return future


@pytest.mark.parametrize(
    ("executor", "reason"),
    [
        (SimpleNamespace(), None),
        (SimpleNamespace(doing_shutdown=False, _error_queue=queued(), mpi_futures=[Future()], _fatal_error=None), None),
        # errors of one request pass through the same queue
        (SimpleNamespace(_error_queue=queued("text", RequestError("one"))), None),
        (SimpleNamespace(_error_queue=queued("text", OSError("pipe"))), "OSError: pipe"),
        (SimpleNamespace(_fatal_error=ValueError("first"), _error_queue=queued(OSError("pipe"))), "ValueError: first"),
        (SimpleNamespace(mpi_futures=[Future(), ended(MemoryError("gone"))]), "MemoryError: gone"),
        (SimpleNamespace(mpi_futures=[ended(None)]), "RuntimeError: a worker process ended"),
        (SimpleNamespace(mpi_futures=[cancelled()]), "RuntimeError: a worker process ended"),
        (SimpleNamespace(doing_shutdown=True), "its executor is shutting down"),
        (SimpleNamespace(doing_pre_shutdown=True), "its executor is shutting down"),
        (None, "its executor is gone"),
    ],
)
def test_why_it_is_dead(executor: Any, reason: str | None) -> None:
    llm = SimpleNamespace(_executor=executor)
    assert failure(llm) == failure(llm) == reason  # looking takes nothing away


def test_the_runtimes_own_check_counts() -> None:
    executor = SimpleNamespace(_fatal_error=None)
    llm = SimpleNamespace(_executor=executor, _check_health=lambda: False)
    assert failure(llm) == "its executor is not healthy"
    executor._fatal_error = OSError("pipe")
    assert failure(llm) == "OSError: pipe"
    executor._fatal_error = None
    llm._check_health = lambda: 1 // 0
    assert failure(llm) == "ZeroDivisionError: integer division or modulo by zero"
    llm._check_health = lambda: True
    assert failure(llm) is None


def process(proc: Path, pid: int, cmdline: bytes, *children: int) -> None:
    (proc / f"{pid}/task/{pid}").mkdir(parents=True)
    (proc / f"{pid}/task/{pid}/children").write_text("".join(f"{child} " for child in children))
    (proc / f"{pid}/cmdline").write_bytes(cmdline)


def test_workers_are_the_mpi_processes_below(tmp_path: Path) -> None:
    server = b"python\0-m\0mpi4py.futures.server\0"
    process(tmp_path, 1, server, 2, 3)
    process(tmp_path, 2, b"orted\0", 4, 5)
    process(tmp_path, 3, b"nvcc\0")
    process(tmp_path, 4, server)
    process(tmp_path, 5, server, 6)  # whose child has ended meanwhile
    assert worker_pids(1, tmp_path) == {4, 5}
