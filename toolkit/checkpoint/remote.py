"""A census of a checkpoint on the Hub from its JSON files and the headers of its shards; no weights are downloaded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from toolkit.checkpoint.census import Census, census_of_parts
from toolkit.checkpoint.header import header_end, parse_header
from toolkit.checkpoint.hub import Listing, listing, name_of
from toolkit.checkpoint.parts import MAX_JSON_BYTES, Headers, read_parts
from toolkit.checkpoint.transport import RemoteFile
from toolkit.errors import CheckpointError

FIRST_RANGE = 32 << 10  # a shard of gpt-oss-120b has 84 tensors and a header of 13 kB
_AT_ONCE = 4
_HINT = "Name another revision, or tell the repository's owner"


def read_census(repo: str, revision: str | None) -> Census:
    """As ``take_census``, of ``owner/name`` at ``revision`` (None: its main branch), which is resolved once.

    Transfers the small JSON files and of each shard the header, at least ``FIRST_RANGE`` bytes where it has so many.
    Raises ``CheckpointError`` for whatever the network or the repository do.
    """
    store = _Repository(listing(repo, revision), revision, name_of(repo, revision))
    return census_of_parts(read_parts(store), sizes=store.there.files, files=store.files, where=store.where)


@dataclass(frozen=True, slots=True)
class _Repository:
    """A ``Store`` on the Hub."""

    there: Listing
    revision: str | None
    where: str

    @property
    def hint(self) -> str:
        return _HINT

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.there.files if "/" not in name))

    def read(self, file: str) -> bytes:
        remote = self._file(file)
        if remote.size > MAX_JSON_BYTES:
            what = f"has {remote.size} bytes, too many for a JSON file of a checkpoint"
            raise CheckpointError(what, where=remote.where, hint=_HINT)
        return remote.read(0, remote.size) if remote.size else b""

    def headers(self, files: Sequence[str]) -> Headers:
        """Transferred side by side, parsed one after the other: parsed, a header takes 20 times its bytes."""
        remotes = [self._file(file) for file in files]
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            for of, head in _heads(pool, remotes):
                yield of.name, parse_header(of.where, head, of.size, of.name, hint=_HINT)[0]
        finally:
            pool.shutdown(cancel_futures=True)

    def _file(self, file: str) -> RemoteFile:
        there, where = self.there, f"{self.where}/{file}"
        return RemoteFile(there.repo, there.commit, file, there.files[file], where, self.revision)


def _heads(pool: ThreadPoolExecutor, remotes: Sequence[RemoteFile]) -> Iterator[tuple[RemoteFile, bytes]]:
    """In this order, with no more than ``_AT_ONCE`` transferred before they are asked for."""
    coming = ((remote, pool.submit(_read_head, remote)) for remote in remotes)
    ahead = deque(islice(coming, _AT_ONCE))
    while ahead:
        remote, future = ahead.popleft()
        head = future.result()
        ahead.extend(islice(coming, 1))
        yield remote, head


def _read_head(remote: RemoteFile) -> bytes:
    """The file from its beginning to the end of its header at least."""
    head = remote.read(0, min(FIRST_RANGE, remote.size)) if remote.size else b""
    end = header_end(remote.where, head, remote.size, hint=_HINT)
    return head if end <= len(head) else head + remote.read(len(head), end)
