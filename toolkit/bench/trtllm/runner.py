"""Run one point of ``trtllm-bench`` under watch: it can hang, outlive itself, and end with 0 without a report."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit.bench.trtllm.argv import PointFiles
from toolkit.bench.trtllm.evidence import gather
from toolkit.bench.trtllm.logs import BoundedLog, Progress, ProgressReader
from toolkit.bench.trtllm.outcome import Ended, Expected, Outcome, ended_early, judge
from toolkit.bench.trtllm.processes import Family
from toolkit.errors import RecordError

READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """``wall_s``: the whole run. ``stall_s``: without a request done while requests run. ``silence_s``: without a byte
    printed or written to the report at any other time, that is while the model loads and while the results are put
    together. ``grace_s`` is between SIGTERM and SIGKILL, ``log_bytes`` the most that is kept of stdout and of stderr.
    """

    wall_s: float = 4 * 3600.0
    silence_s: float = 1800.0
    stall_s: float = 600.0
    grace_s: float = 15.0
    poll_s: float = 0.2
    log_bytes: int = 64 << 20


def run_point(
    argv: Sequence[str],
    files: PointFiles,
    expected: Expected,
    *,
    limits: Limits = Limits(),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Run ``argv`` and say what came of it; nothing of it is alive afterwards, whatever happens here.

    ``argv`` writes its report and requests to those of ``files``, whose folder is made if need be. Ctrl-C ends the run
    and gives the status ``interrupted``: the caller must not go on to the next point. Raises ``RecordError`` when one
    of the files is there already, and ``OSError`` when a log cannot be written.
    """
    _make_folder(files)
    started = time.monotonic()
    try:
        family = Family(argv, cwd=cwd, env=os.environ if env is None else env)
    except OSError as error:
        reason = f"cannot start {argv[0]}: {error.strerror}"
        return Outcome("failed", reason, None, time.monotonic() - started, files)
    watch = _Watch(family, files, limits, on_progress)
    ended, outlived, left = _attend(watch, family, limits)
    exit_code, evidence = family.exit_code(), gather(files)
    if ended is not None or exit_code is None:
        status, reason = ended_early(ended or "stalled", watch.why, evidence)
    else:
        status, reason = judge(exit_code, evidence, expected)
    return Outcome(
        status=status,
        reason=reason,
        exit_code=exit_code,
        duration_s=time.monotonic() - started,
        files=files,
        measurement=evidence.measurement,
        requests=evidence.requests,
        progress=watch.progress.last,
        outlived=outlived,
        left=left,
    )


def _make_folder(files: PointFiles) -> None:
    taken = [path.name for path in files.all if path.exists()]
    if taken:
        what = f"{taken[0]} is there already"
        raise RecordError(what, where=str(files.folder), hint="Give each run a folder of its own")
    files.folder.mkdir(parents=True, exist_ok=True)


def _attend(watch: _Watch, family: Family, limits: Limits) -> tuple[Ended | None, int, tuple[int, ...]]:
    """Why the run was ended, if it was; how many processes outlived it; which ones could not be ended."""
    ended: Ended | None = None
    outlived = 0
    left: tuple[int, ...] = ()
    try:
        try:
            with watch:
                try:
                    ended = watch.until_exit()
                    outlived = len(family.members()) if ended is None else 0
                finally:
                    left = family.end(limits.grace_s)
                    watch.drain()
        except KeyboardInterrupt:
            ended, watch.why = "interrupted", "interrupted from here"
            left = family.end(0.0)
    finally:
        family.close()
    return ended, outlived, left


class _Watch:
    """Reads what the family prints and decides when it has waited long enough."""

    def __init__(
        self, family: Family, files: PointFiles, limits: Limits, on_progress: Callable[[Progress], None]
    ) -> None:
        self._family, self._files, self._limits, self._on_progress = family, files, limits, on_progress
        self.progress = ProgressReader()
        self.why = ""
        self._report_size = 0

    def __enter__(self) -> _Watch:
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._stdout, self._stderr = (
                stack.enter_context(BoundedLog(path, self._limits.log_bytes))
                for path in (self._files.stdout, self._files.stderr)
            )
            for pipe, log in zip(self._family.outputs, (self._stdout, self._stderr), strict=True):
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, selectors.EVENT_READ, log)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def until_exit(self) -> Ended | None:
        """None when the leader has ended by itself."""
        started = active = time.monotonic()
        while self._family.exit_code() is None:
            if self._read(self._limits.poll_s):
                active = time.monotonic()
            now = time.monotonic()
            limit = self._limits.stall_s if self._measuring() else self._limits.silence_s
            if now - started > self._limits.wall_s:
                self.why = f"not done after {self._limits.wall_s:g} s{self._count()}"
                return "timeout"
            if now - active > limit:
                self.why = f"no progress for {limit:g} s{self._count()}"
                return "stalled"
        return None

    def drain(self) -> None:
        """Read what is in the pipes when all writers have ended."""
        while self._selector.get_map() and self._read(0.0, drain=True):
            pass

    def _read(self, timeout_s: float, *, drain: bool = False) -> bool:
        """Whether there was a sign of life."""
        alive = False
        if not self._selector.get_map():
            # both pipes are closed and it still runs
            time.sleep(timeout_s)
        for key, _ in self._selector.select(timeout_s) if self._selector.get_map() else ():
            pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]  # as registered
            data = os.read(pipe.fileno(), READ_BYTES)
            if not data:
                self._selector.unregister(pipe)
                continue
            key.data.write(data)
            moved = self.progress.feed(data) if key.data is self._stderr else None
            if moved is not None:
                self._on_progress(moved)
            # while requests run only their count is progress: a hung bench may go on logging
            alive = alive or drain or moved is not None or not self._measuring()
        return self._report_grew() or alive

    def _measuring(self) -> bool:
        last = self.progress.last
        return last is not None and last.done < last.total

    def _report_grew(self) -> bool:
        try:
            size = self._files.report.stat().st_size
        except OSError:
            return False
        grew, self._report_size = size != self._report_size, size
        return grew

    def _count(self) -> str:
        last = self.progress.last
        return "" if last is None else f" at {last.done} of {last.total} requests"
