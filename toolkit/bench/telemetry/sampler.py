"""A thread that takes readings while something is measured, and never disturbs or ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from toolkit.bench.environment.nvml import Absent, open_nvml
from toolkit.bench.telemetry.processes import Family
from toolkit.bench.telemetry.rows import Row
from toolkit.bench.telemetry.sources import Sources

PERIOD_S = 0.5
ANSWER_S = 10.0


@dataclass(slots=True)
class Recording:
    """``rows`` are there after the block of ``sampling``; ``problem`` is why they are not all, or not of GPUs."""

    period_s: float
    rows: tuple[Row, ...] = ()
    problem: str | None = None


@contextmanager
def sampling(
    gpus: Sequence[int] = (), *, period_s: float = PERIOD_S, own_server: bool = True, answer_s: float = ANSWER_S
) -> Iterator[Recording]:
    """Read the host and ``gpus`` (``Gpus.indices``) from before the block to after it, every ``period_s`` seconds.

    ``own_server`` says that all that is measured was started by this process. Raises nothing: what cannot be read is
    left out, and a driver that hangs is waited for ``answer_s`` seconds, then left behind.
    """
    recording = Recording(period_s)
    with ExitStack() as stack:
        nvml = stack.enter_context(open_nvml()) if gpus else None
        if isinstance(nvml, Absent):
            recording.problem, nvml = nvml.problem, None
        sources = Sources(Family() if own_server else None, nvml, gpus)
        with thread(sources.read, recording, answer_s):
            yield recording


@contextmanager
def thread(read: Callable[[], Sequence[Row]], recording: Recording, answer_s: float) -> Iterator[None]:
    """Fill ``recording`` with what ``read`` returns: once before the block, once after it, and in between."""
    sampler = _Sampler(read, recording.period_s)
    runner = threading.Thread(target=sampler.run, name="telemetry", daemon=True)
    runner.start()
    sampler.started.wait(answer_s)
    try:
        yield
    finally:
        sampler.stop.set()
        runner.join(answer_s)
        recording.rows = tuple(sampler.rows)
        hangs = f"no answer within {answer_s:g} s" if runner.is_alive() else None
        recording.problem = sampler.problem or hangs or recording.problem


@dataclass(slots=True)
class _Sampler:
    read: Callable[[], Sequence[Row]]
    period_s: float
    rows: list[Row] = field(default_factory=list)
    problem: str | None = None
    started: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        due, stopped = time.monotonic(), False
        try:
            while not stopped:
                stopped = self.stop.wait(max(0.0, due - time.monotonic()))
                self.rows += self.read()
                self.started.set()
                # readings that were missed are not made up for
                due = max(due + self.period_s, time.monotonic())
        except Exception as error:  # whatever it is, the measurement goes on without telemetry
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self.started.set()
