"""Bytes from the Hub, no more of them than asked for.

Through huggingface_hub's own session, headers and URLs, so that its token, ``HF_ENDPOINT``, proxies and
``HF_HUB_OFFLINE`` hold here as they do for ``hf download``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import Any

from toolkit.checkpoint.hub_errors import PassingError, by_hand, endpoint, refused, shown, unreachable
from toolkit.errors import CheckpointError, NoAnswerError

PAUSE = 1.0  # seconds before the one other try
_PIECE = 1 << 12  # bytes; requests waits for so many
_SLOWEST = 20_000  # bytes/s on average, after a first HF_HUB_DOWNLOAD_TIMEOUT
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class Repository:
    """``repo`` at ``revision``; ``where`` is how errors name it, or the file of it that is asked for."""

    repo: str
    revision: str | None
    where: str

    def description(self, url: str, most: int) -> bytes:
        """The whole answer of ``url``, tried twice as ``RemoteFile.read``; ``CheckpointError`` over ``most`` bytes."""
        return _twice(partial(self._description, url, most))

    def _description(self, url: str, most: int) -> bytes:
        with self.get(url, {}) as response:
            data = self.body(response, most)
        if len(data) > most:
            what = f"the Hub's description of the repository has over {most} bytes"
            raise CheckpointError(what, where=self.where, hint=by_hand(self.repo, self.revision))
        return data

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[Any]:
        """An answer below status 400, its body still to be read.

        huggingface_hub's session is of requests up to 0.x, of httpx in 1.x and of httpx2 from 2.0 on.
        """
        from huggingface_hub import get_session
        from huggingface_hub.errors import HfHubHTTPError

        session: Any = get_session()
        streams = hasattr(session, "stream") and callable(session.stream)
        ask = partial(session.stream, "GET") if streams else partial(session.get, stream=True)
        got: Any = None
        try:
            with ExitStack() as stack:
                try:
                    got = stack.enter_context(ask(url, **_options(headers)))
                except ValueError:  # requests, of the URL that it was redirected to
                    what = f"asking {shown(endpoint(self.where))} led to what is no URL"
                    raise NoAnswerError(what, where=self.where, hint="Check HF_ENDPOINT and the proxy") from None
                if got.status_code >= 400:
                    raise refused(self.repo, got.status_code, got.headers, where=self.where, revision=self.revision)
                yield got
        except (HfHubHTTPError.__bases__[0], OSError) as error:
            asked = "" if got is None else str(got.url)
            raise unreachable(self.repo, error, where=self.where, revision=self.revision, url=asked) from None

    def body(self, response: Any, most: int) -> bytes:
        """The body, or a little more than ``most`` bytes of a longer one; ``NoAnswerError`` where it drips."""
        from huggingface_hub import constants

        begin = monotonic()
        data = bytearray()
        # httpx hands out what has come; told a size it would wait for as much
        for piece in response.iter_bytes() if hasattr(response, "iter_bytes") else response.iter_content(_PIECE):
            data += piece
            if len(data) > most:
                break
            seconds = monotonic() - begin
            if len(data) < most and seconds > constants.HF_HUB_DOWNLOAD_TIMEOUT + len(data) / _SLOWEST:
                what = f"the server sent {len(data)} bytes in {seconds:.0f} s and has not ended"
                hint = "Type the same command again, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds"
                raise NoAnswerError(what, where=self.where, hint=hint)
        return bytes(data)


def _options(headers: Mapping[str, str]) -> dict[str, Any]:
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers

    # compressed, the bytes would be others than a range or a limit counts
    all_headers = build_hf_headers(headers={**headers, "accept-encoding": "identity"})
    return {"headers": all_headers, "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT}


def _twice(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except PassingError:
        sleep(PAUSE)
        return read()


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of ``size`` bytes in ``repo`` at ``commit``, what ``revision`` was; ``where`` is how errors name it."""

    repo: str
    commit: str
    name: str
    size: int
    where: str
    revision: str | None = None

    def read(self, begin: int, end: int) -> bytes:
        """Bytes ``begin`` to ``end`` (exclusive) of the file, 0 ≤ begin < end ≤ size.

        Tried twice where the first time met a fault that may pass. Raises ``CheckpointError``. An answer with other
        bytes than these is closed unread, and of a longer one little more is read.
        """
        return _twice(partial(self._read, begin, end))

    def _read(self, begin: int, end: int) -> bytes:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self.repo, self.name, revision=self.commit, endpoint=endpoint(self.where))
        repository = Repository(self.repo, self.revision, self.where)
        with repository.get(url, {"range": f"bytes={begin}-{end - 1}"}) as response:
            self._check_range(response.status_code, response.headers, begin, end)
            data = repository.body(response, end - begin)
        if len(data) != end - begin:
            amount = f"more than {end - begin}" if len(data) > end - begin else f"{len(data)} of {end - begin}"
            hint = "Type the same command again"
            raise CheckpointError(f"the server sent {amount} bytes", where=self.where, hint=hint)
        return data

    def _check_range(self, status: int, headers: Mapping[str, str], begin: int, end: int) -> None:
        if status == 200 and (begin, end) == (0, self.size):
            return
        got = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "")) if status == 206 else None
        if got is None:
            what = f"the server ignores byte ranges (status {status}), so its {self.size} bytes would have to come"
            raise CheckpointError(what, where=self.where, hint=by_hand(self.repo, self.revision))
        if (int(got[1]), int(got[2]) + 1) != (begin, end) or got[3] not in ("*", str(self.size)):
            what = f"the server sent {got[0]!r} where bytes {begin}-{end - 1}/{self.size} were asked for"
            raise CheckpointError(what, where=self.where, hint=by_hand(self.repo, self.revision))
