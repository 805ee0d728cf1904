"""Bytes of a file on the Hub, no more of them than asked for.

Through huggingface_hub's own session, headers and URLs, so that its token, ``HF_ENDPOINT``, proxies and
``HF_HUB_OFFLINE`` hold here as they do for ``hf download``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep
from typing import Any

from toolkit.checkpoint.hub_errors import PassingError, by_hand, endpoint, refused, shown, unreachable
from toolkit.errors import CheckpointError, NoAnswerError

PAUSE = 1.0  # seconds before the one other try
_PIECE = 1 << 12  # bytes; requests waits for so many
_SLOWEST = 100_000  # bytes/s, after a first HF_HUB_DOWNLOAD_TIMEOUT
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


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
        bytes than these is closed unread.
        """
        try:
            return self._read(begin, end)
        except PassingError:
            sleep(PAUSE)
            return self._read(begin, end)

    def _read(self, begin: int, end: int) -> bytes:
        with self._get({"range": f"bytes={begin}-{end - 1}"}) as response:
            if response.status_code >= 400:
                status, said = response.status_code, response.headers
                raise refused(self.repo, status, said, where=self.where, revision=self.revision)
            self._check_range(response.status_code, response.headers, begin, end)
            return self._body(response, end - begin)

    @contextmanager
    def _get(self, headers: Mapping[str, str]) -> Iterator[Any]:
        """huggingface_hub's session is of requests up to 0.x, of httpx in 1.x and of httpx2 from 2.0 on."""
        from huggingface_hub import constants, get_session, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(self.repo, self.name, revision=self.commit, endpoint=endpoint(self.where))
        # compressed, the bytes would be others than the range counts
        all_headers = build_hf_headers(headers={**headers, "accept-encoding": "identity"})
        options: dict[str, Any] = {"headers": all_headers, "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT}
        session: Any = get_session()
        transport_error = HfHubHTTPError.__bases__[0]
        got: Any = None
        try:
            streams = hasattr(session, "stream") and callable(session.stream)
            with ExitStack() as stack:
                try:
                    ask = partial(session.stream, "GET") if streams else partial(session.get, stream=True)
                    got = stack.enter_context(ask(url, **options))
                except ValueError:  # requests, of the URL that it was redirected to
                    what = f"asking {shown(endpoint(self.where))} led to what is no URL"
                    raise NoAnswerError(what, where=self.where, hint="Check HF_ENDPOINT and the proxy") from None
                yield got
        except (transport_error, OSError) as error:
            asked = "" if got is None else str(got.url)
            raise unreachable(self.repo, error, where=self.where, revision=self.revision, url=asked) from None

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

    def _body(self, response: Any, length: int) -> bytes:
        """The body, unless it is longer or shorter than ``length`` or drips; of a longer one little more is read."""
        from huggingface_hub import constants

        seconds = constants.HF_HUB_DOWNLOAD_TIMEOUT + length / _SLOWEST
        until = monotonic() + seconds
        data = bytearray()
        # httpx hands out what has come; told a size it would wait for as much
        for piece in response.iter_bytes() if hasattr(response, "iter_bytes") else response.iter_content(_PIECE):
            data += piece
            if len(data) > length:
                break
            if len(data) < length and monotonic() > until:
                what = f"the server sent {len(data)} of {length} bytes in {seconds:.0f} s"
                hint = "Type the same command again, or set HF_HUB_DOWNLOAD_TIMEOUT to more seconds"
                raise NoAnswerError(what, where=self.where, hint=hint)
        if len(data) != length:
            amount = f"more than {length}" if len(data) > length else f"{len(data)} of {length}"
            hint = "Type the same command again"
            raise CheckpointError(f"the server sent {amount} bytes", where=self.where, hint=hint)
        return bytes(data)
