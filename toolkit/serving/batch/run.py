"""Ask a model for every line of a checked file, with bounded concurrency, and keep every answer as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import (
    BatchError,
    BusyError,
    ClientError,
    DeadlineError,
    EngineDeadError,
    StoppingError,
    TrtkitError,
    UnavailableError,
)
from toolkit.serving.batch.journal import Journal
from toolkit.serving.batch.lines import Conversing, Defaults, Line, Scan, read_lines
from toolkit.serving.completion import collect
from toolkit.serving.wire import Chunk

Generate = Callable[[Line], AsyncGenerator[Chunk, None]]
Probe = Callable[[], Awaitable[None]]

LATE = 4
"""After so many lines in a row whose deadline passed, the model is asked whether it is there."""


@dataclass(frozen=True, slots=True)
class Progress:
    """``finished`` of ``requests`` lines have a record, ``failed`` of them an error; tokens are of this run."""

    requests: int
    finished: int
    failed: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Summary:
    """``before`` lines were done when this run began; tokens and seconds are of this run."""

    requests: int
    ok: int
    failed: int
    before: int
    prompt_tokens: int
    output_tokens: int
    elapsed_s: float


async def run_batch(
    generate: Generate,
    source: Path,
    scan: Scan,
    output: Path,
    *,
    defaults: Defaults,
    model: Mapping[str, Any],
    conversing: Conversing | None = None,
    concurrency: int = 16,
    retry_failed: bool = False,
    probe: Probe | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Answer the lines of ``source`` that have no record yet, then write ``output`` in the order of the input.

    ``model`` says whose answers these are, in values of JSON. A line that fails gets a record with its ``error``;
    when the model itself is gone the error is raised instead, and when its server is only stopping, once the lines that
    run have ended. A dead model under a live server answers nothing: ``probe`` generates one token after ``LATE`` lines
    in a row that came too late, and raises where it cannot. However it ends, what is done stays done: the same call
    goes on from there. Raises ``BatchError`` for an output that is another batch's.
    """
    job = {"input": scan.sha256, "defaults": asdict(defaults), "model": dict(model)}
    journal = Journal(output, job, requests=scan.requests, last_line=scan.last_line)
    with journal.open(retry_failed=retry_failed):
        run = _Run(generate, journal, scan.requests, conversing, probe, on_progress)
        await run.all(read_lines(source, scan, defaults, conversing, journal.done), concurrency)
        if journal.recorded < scan.requests:
            raise BatchError("was changed while it was read", where=str(source), hint="Name another output for it")
        journal.finish()
        return run.summary()


class _Run:
    """One pass over the lines that are left."""

    def __init__(
        self,
        generate: Generate,
        journal: Journal,
        requests: int,
        conversing: Conversing | None,
        probe: Probe | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._probe = probe
        self._probing = asyncio.Lock()
        self._late = 0
        self._stopping: StoppingError | None = None
        self._generate = generate
        self._journal = journal
        self._requests = requests
        self._conversing = conversing
        self._on_progress = on_progress
        self._start_s = time.monotonic()
        self._before = self._finished = journal.settled
        self._failed = journal.failed if journal.settled == journal.recorded else 0
        self._prompt_tokens = self._output_tokens = 0

    async def all(self, lines: Iterator[Line], concurrency: int) -> None:
        """Answer ``lines``, so many at a time. Raises the error that shows that no further one can be answered."""
        self._report()
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency):
                    workers.create_task(self._work(lines))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        if self._stopping is not None:
            raise self._stopping

    def summary(self) -> Summary:
        journal = self._journal
        elapsed_s = time.monotonic() - self._start_s
        tokens = (self._prompt_tokens, self._output_tokens)
        return Summary(self._requests, journal.ok, journal.failed, self._before, *tokens, elapsed_s)

    async def _work(self, lines: Iterator[Line]) -> None:
        for line in lines:
            try:
                record = await self._answer(line)
            except StoppingError as error:
                self._stopping = error
                return
            self._keep(line, record)
            await self._look_after(late=record.get("error_type") == DeadlineError.__name__)
            if self._stopping is not None:
                return

    def _keep(self, line: Line, record: dict[str, Any]) -> None:
        self._journal.append(line.number, {"id": line.id, **record})
        self._finished += 1
        self._failed += "error" in record
        self._prompt_tokens += record.get("prompt_tokens") or 0
        self._output_tokens += record.get("output_tokens") or 0
        self._report()

    async def _look_after(self, *, late: bool) -> None:
        """Raise ``UnavailableError`` where too many lines came too late and the model generates nothing any more."""
        self._late = self._late + 1 if late else 0
        if not late or self._probe is None:
            return
        async with self._probing:  # whoever is late meanwhile waits for what it says
            if self._late < LATE:
                return
            try:
                await self._probe()
            except ClientError as error:  # a full queue, or a refusal, is an answer
                if isinstance(error, DeadlineError | UnavailableError) and not isinstance(error, BusyError):
                    raise _no_answer(error) from None
            finally:
                self._late = 0

    async def _answer(self, line: Line) -> dict[str, Any]:
        try:
            completion = await collect(self._generate(line), lambda delta: None)
            record = {name: value for name, value in asdict(completion).items() if name != "logprobs"}
            if completion.logprobs:
                record["logprobs"] = [asdict(entry) for entry in completion.logprobs]
            if line.conversed and self._conversing is not None and isinstance(line.prompt, tuple):
                record["message"] = self._conversing.message(line.prompt, completion.token_ids)
            return record
        except TrtkitError as error:
            gone = isinstance(error, UnavailableError) and not isinstance(error, BusyError)
            if gone or isinstance(error, EngineDeadError):
                raise
            return {"error": str(error), "error_type": type(error).__name__}

    def _report(self) -> None:
        self._on_progress(Progress(self._requests, self._finished, self._failed, self._output_tokens))


def _no_answer(error: TrtkitError) -> UnavailableError:
    what = f"{LATE} lines in a row had no answer in time, and a request for one token has none: {error.what}"
    hint = "See the server's log; to ask for those lines again, too, type the same and --retry-failed"
    return UnavailableError(what, where=error.where, hint=hint)
