"""Whether the runtime still lives.

``LLM._check_health`` says so since 1.3; it looks at the executor's fatal error, its error queue and the futures of its
workers. Before, those are looked at here: a worker that ends leaves its exception in ``_error_queue``, which 1.0 to 1.2
read only when a response or a request passes by, so streams would hang. A worker that is killed may not even end its
future; workers that MPI spawned are processes ``python -m mpi4py.futures.server`` below this one, so they are counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.engine.runtime.tensorrt_llm.words import is_of_request, one_line

WORKER = b"mpi4py.futures.server"
PROC = Path("/proc")


def failure(llm: Any, workers: frozenset[int] = frozenset()) -> str | None:
    """Why the engine is dead, None while it lives. ``workers`` are the pids that must be there."""
    executor = getattr(llm, "_executor", None)
    if executor is None:
        return "its executor is gone"
    unhealthy = _unhealthy(llm)  # first, because it notes the fatal error that is looked at next
    return _reason(executor) or unhealthy or _missing(workers)


def _unhealthy(llm: Any) -> str | None:
    check = getattr(llm, "_check_health", None)
    try:
        return None if check is None or check() else "its executor is not healthy"
    except Exception as error:  # of any kind: looking at a background error may raise it
        return f"{type(error).__name__}: {one_line(error)}"


def _reason(executor: Any) -> str | None:
    for error in (getattr(executor, "_fatal_error", None), _queued(executor), _ended(executor)):
        if error is not None:
            return f"{type(error).__name__}: {one_line(error)}"
    stopping = any(getattr(executor, name, False) for name in ("doing_shutdown", "doing_pre_shutdown"))
    return "its executor is shutting down" if stopping else None


def _queued(executor: Any) -> BaseException | None:
    """The first fatal error of a background thread; it is left for the runtime to take."""
    queue = getattr(executor, "_error_queue", None)
    errors = tuple(getattr(queue, "queue", ()))
    return next((error for error in errors if isinstance(error, BaseException) and not is_of_request(error)), None)


def _ended(executor: Any) -> BaseException | None:
    for future in getattr(executor, "mpi_futures", None) or ():
        if future.done():
            found: BaseException | None = None if future.cancelled() else future.exception()
            return found or RuntimeError("a worker process ended")
    return None


def worker_pids(root: int, proc: Path = PROC) -> frozenset[int]:
    """Pids of the MPI workers below the process ``root``."""
    found: set[int] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        for children in proc.glob(f"{pid}/task/*/children"):
            waiting += [int(child) for child in _read(children).split()]
        if pid != root and WORKER in _read(proc / str(pid) / "cmdline"):
            found.add(pid)
    return frozenset(found)


def _missing(workers: frozenset[int], proc: Path = PROC) -> str | None:
    # a process that has ended and that nobody has waited for has no command line
    gone = [pid for pid in sorted(workers) if WORKER not in _read(proc / str(pid) / "cmdline")]
    return f"worker process {gone[0]} is gone" if gone else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
