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
from toolkit.bench.metrics import compute_metrics
from toolkit.bench.prompts import Prompts
from toolkit.bench.runners.protocol import Measured
from toolkit.bench.trial import REQUESTS_FILE, ServedBy
from toolkit.bench.watch import while_alive
from toolkit.errors import ClientError, EngineError, ServerError


@dataclass(frozen=True, slots=True)
class OnlineSession:
    """Streams every request through ``client``, on one event loop. ``check`` raises ``ServerError`` once it is dead."""

    client: Client
    loop: asyncio.Runner
    check: Callable[[], None]
    server: ServedBy | None

    @classmethod
    @contextmanager
    def open(
        cls, client: AbstractAsyncContextManager[Client], check: Callable[[], None], server: ServedBy | None
    ) -> Iterator[OnlineSession]:
        """Enter ``client`` for the length of the block."""
        with asyncio.Runner() as loop:
            stack = AsyncExitStack()
            try:
                yield cls(loop.run(stack.enter_async_context(client)), loop, check, server)
            finally:
                _settle(loop.get_loop())
                loop.run(stack.aclose())

    def probe(self) -> None:
        """Raise an error of the client or server unless a token can be generated."""
        self.loop.run(while_alive(self.client.probe(), self.check))

    def measure(self, point: Point, prompts: Prompts, on_request: Callable[[int], None]) -> Measured:
        stopped = None
        try:
            load = self.loop.run(while_alive(run_load(self.client, point, prompts, on_request), self.check))
        except ServerError as error:
            # not the whole text: it names the log's folder
            load, stopped = Load((), error.what), str(error)
        checks = check_trial(point, load.requests)
        status = status_of(load.error, checks)
        if status == "failed" and stopped is None:
            stopped = self._broken()
        return Measured(
            status=status,
            error=load.error,
            checks=checks,
            metrics=compute_metrics(load.requests) if status == "ok" else None,
            evidence={REQUESTS_FILE: pack_requests(load.requests)},
            server=self.server,
            stopped=stopped,
        )

    def _broken(self) -> str | None:
        """Why no token can be generated, None if one can."""
        try:
            self.probe()
        except (ClientError, EngineError, ServerError) as error:
            return str(error)
        return None


def _settle(loop: asyncio.AbstractEventLoop) -> None:
    """An exception out of a callback, as SIGTERM's is, leaves tasks and an old request to stop behind: end them all."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.stop()
    loop.run_forever()
