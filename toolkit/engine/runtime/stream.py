"""One request's events on their way from the engine's thread to the event loop that submitted it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping

from toolkit.engine.runtime.protocol import Event
from toolkit.errors import EngineError


class Mailbox:
    """The engine's end. Holds no reference to the stream, so a stream that nobody reads can be collected."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[Event | EngineError] = asyncio.Queue()

    def post(self, item: Event | EngineError) -> bool:
        """From any thread; False when the event loop is closed."""
        try:
            self.loop.call_soon_threadsafe(self.queue.put_nowait, item)
        except RuntimeError:
            return False
        return True


def post_together(posts: Mapping[Mailbox, Event | EngineError]) -> set[Mailbox]:
    """Post to many at once, waking each event loop once; returns the mailboxes whose loop is closed."""
    loops: dict[asyncio.AbstractEventLoop, list[Mailbox]] = {}
    for mailbox in posts:
        loops.setdefault(mailbox.loop, []).append(mailbox)
    unread: set[Mailbox] = set()
    for loop, mailboxes in loops.items():
        try:
            loop.call_soon_threadsafe(_deliver, [(mailbox.queue, posts[mailbox]) for mailbox in mailboxes])
        except RuntimeError:
            unread.update(mailboxes)
    return unread


def _deliver(items: list[tuple[asyncio.Queue[Event | EngineError], Event | EngineError]]) -> None:
    for queue, item in items:
        queue.put_nowait(item)


class EventStream:
    """The caller's end: an async iterator of events.

    ``aclose``, a cancelled wait and dropping the last reference all call ``abandon`` unless the stream has ended.
    """

    def __init__(self, mailbox: Mailbox, abandon: Callable[[], None]) -> None:
        self._queue = mailbox.queue
        self._finalizer = weakref.finalize(self, abandon)
        self._finalizer.atexit = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        if not self._finalizer.alive:
            raise StopAsyncIteration
        try:
            item = await self._queue.get()
        except asyncio.CancelledError:
            self._finalizer()
            raise
        if isinstance(item, EngineError):
            self._finalizer.detach()
            raise item
        if item.finish_reason is not None:
            self._finalizer.detach()
        return item

    async def aclose(self) -> None:
        """Cancel the request; nothing happens when it has ended."""
        self._finalizer()
