"""Measure through a client: what the Triton and the engine runner share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass

from toolkit.bench.checks import check_trial, status_of
from toolkit.bench.evidence import pack_requests
from toolkit.bench.grid import Point
from toolkit.bench.load import Client, Load, run_load
from toolkit.bench.load_checks import check_lengths, check_on_time
from toolkit.bench.metrics import compute_metrics
from toolkit.bench.runners.protocol import Measured
from toolkit.bench.trial import REQUESTS_FILE, ServedBy
from toolkit.bench.watch import while_alive
from toolkit.bench.workload import Arrival, ClosedLoop, Drawn
from toolkit.errors import ClientError, EngineError, ServerError


@dataclass(frozen=True, slots=True)
class OnlineSession:
    """Streams every request through ``client``, on one event loop. ``check`` raises ``ServerError`` once it is dead;
    ``fixed`` says that all requests of a point are as long as it says."""

    client: Client
    loop: asyncio.Runner
    check: Callable[[], None]
    server: ServedBy | None
    fixed: bool

    @classmethod
    @contextmanager
    def open(
        cls,
        client: AbstractAsyncContextManager[Client],
        check: Callable[[], None],
        server: ServedBy | None,
        *,
        fixed: bool,
    ) -> Iterator[OnlineSession]:
        """Enter ``client`` for the length of the block."""
        with asyncio.Runner() as loop:
            stack = AsyncExitStack()
            try:
                yield cls(loop.run(stack.enter_async_context(client)), loop, check, server, fixed)
            finally:
                _settle(loop.get_loop())
                loop.run(stack.aclose())

    def probe(self) -> None:
        """Raise an error of the client or server unless a token can be generated."""
        self.loop.run(while_alive(self.client.probe(), self.check))
        self.check()

    def measure(self, point: Point, drawn: Drawn, arrival: Arrival, on_request: Callable[[int], None]) -> Measured:
        stopped = None
        work = run_load(self.client, drawn.measured, drawn.warmup, arrival, on_request)
        try:
            load = self.loop.run(while_alive(work, self.check))
        except ServerError as error:
            # not the whole text: it names the log's folder
            load, stopped = Load((), error.what), str(error)
        checks = check_trial(point, load.requests, fixed=self.fixed)
        conditions = () if self.fixed else check_lengths(drawn.measured, load.requests)
        if not isinstance(arrival, ClosedLoop):
            conditions = (*conditions, check_on_time(load.requests))
        status = status_of(load.error, (*checks, *conditions))
        if status == "failed" and stopped is None:
            stopped = self._broken()
        return Measured(
            status=status,
            error=load.error,
            checks=checks,
            conditions=conditions,
            metrics=compute_metrics(load.requests) if status == "ok" else None,
            evidence={REQUESTS_FILE: pack_requests(load.requests)},
            server=self.server,
            stopped=stopped,
        )

    def _broken(self) -> str | None:
        """Why no token can be generated, in the server's own words where it has any; None if one can."""
        try:
            self.probe()
        except ServerError as error:
            return str(error)
        except (ClientError, EngineError) as error:
            try:
                self.check()
            except ServerError as death:
                return str(death)
            return str(error)
        return None


def _settle(loop: asyncio.AbstractEventLoop) -> None:
    """An exception out of a callback, as SIGTERM's is, leaves tasks and an old request to stop behind: end them all."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.stop()
    loop.run_forever()
