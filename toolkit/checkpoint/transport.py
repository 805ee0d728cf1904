"""Bytes of a file on the Hub, no more of them than asked for.

Through huggingface_hub's own session, headers and URLs, so that its token, ``HF_ENDPOINT``, proxies and
``HF_HUB_OFFLINE`` hold here as they do for ``hf download``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolkit.checkpoint.hub_errors import by_hand, endpoint, refused, unreachable
from toolkit.errors import CheckpointError

_PIECE = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of ``size`` bytes in ``repo`` at ``commit``; ``where`` is how errors name it."""

    repo: str
    commit: str
    name: str
    size: int
    where: str

    def read(self, begin: int, end: int) -> bytes:
        """Bytes ``begin`` to ``end`` (exclusive) of the file, 0 ≤ begin < end ≤ size.

        Raises ``CheckpointError``. An answer with other bytes than these is closed unread.
        """
        with self._get({"range": f"bytes={begin}-{end - 1}"}) as response:
            if response.status_code >= 400:
                raise refused(self.repo, response.status_code, response.headers, where=self.where)
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
        try:
            streams = hasattr(session, "stream") and callable(session.stream)
            with session.stream("GET", url, **options) if streams else session.get(url, stream=True, **options) as got:
                yield got
        except (transport_error, OSError) as error:
            raise unreachable(self.repo, error, where=self.where) from None

    def _check_range(self, status: int, headers: Mapping[str, str], begin: int, end: int) -> None:
        if status == 200 and (begin, end) == (0, self.size):
            return
        got = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "")) if status == 206 else None
        if got is None:
            what = f"the server ignores byte ranges (status {status}), so its {self.size} bytes would have to come"
            raise CheckpointError(what, where=self.where, hint=by_hand(self.repo))
        if (int(got[1]), int(got[2]) + 1) != (begin, end) or got[3] not in ("*", str(self.size)):
            what = f"the server sent {got[0]!r} where bytes {begin}-{end - 1}/{self.size} were asked for"
            raise CheckpointError(what, where=self.where, hint=by_hand(self.repo))

    def _body(self, response: Any, length: int) -> bytes:
        """The body, unless it is longer or shorter than ``length``; of a longer one no more than a piece is read."""
        iterate = response.iter_bytes if hasattr(response, "iter_bytes") else response.iter_content
        data = bytearray()
        for piece in iterate(_PIECE):
            data += piece
            if len(data) > length:
                break
        if len(data) != length:
            amount = f"more than {length}" if len(data) > length else f"{len(data)} of {length}"
            hint = "Type the same command again"
            raise CheckpointError(f"the server sent {amount} bytes", where=self.where, hint=hint)
        return bytes(data)
