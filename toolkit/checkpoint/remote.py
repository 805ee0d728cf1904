"""A census of a checkpoint on the Hub from its JSON files and the headers of its shards; no weights are downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from toolkit.checkpoint.census import Census, census_of_parts
from toolkit.checkpoint.header import TensorInfo, header_end, parse_header
from toolkit.checkpoint.hub import Listing, listing, name_of
from toolkit.checkpoint.hub_errors import by_hand
from toolkit.checkpoint.parts import MAX_JSON_BYTES, read_parts
from toolkit.checkpoint.transport import RemoteFile
from toolkit.errors import CheckpointError

FIRST_RANGE = 32 << 10  # a shard of gpt-oss-120b has 84 tensors and a header of 13 kB
_AT_ONCE = 4
_LONGEST_HEADER = 25_000_000  # huggingface_hub's SAFETENSORS_MAX_HEADER_LENGTH
_HINT = "Name another revision, or tell the repository's owner"


def read_census(repo: str, revision: str | None) -> Census:
    """As ``take_census``, of ``owner/name`` at ``revision`` (None: its main branch), which is resolved once.

    Transfers the small JSON files and of each shard the header, at least ``FIRST_RANGE`` bytes where it has so many.
    Raises ``CheckpointError`` for whatever the network or the repository do.
    """
    store = _Repository(listing(repo, revision), name_of(repo, revision))
    return census_of_parts(read_parts(store), sizes=store.there.files, files=store.files, where=store.where)


@dataclass(frozen=True, slots=True)
class _Repository:
    """A ``Store`` on the Hub."""

    there: Listing
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

    def headers(self, files: Sequence[str]) -> dict[str, dict[str, TensorInfo]]:
        """Transferred side by side, parsed one after the other: parsed, a header takes up to 30 times its bytes."""
        remotes = [self._file(file) for file in files]
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            heads = zip(remotes, pool.map(_read_head, remotes), strict=True)
            return {of.name: parse_header(of.where, head, of.size, of.name, hint=_HINT)[0] for of, head in heads}
        finally:
            pool.shutdown(cancel_futures=True)

    def _file(self, file: str) -> RemoteFile:
        return RemoteFile(self.there.repo, self.there.commit, file, self.there.files[file], f"{self.where}/{file}")


def _read_head(remote: RemoteFile) -> bytes:
    """The file from its beginning to the end of its header at least."""
    head = remote.read(0, min(FIRST_RANGE, remote.size)) if remote.size else b""
    end = header_end(remote.where, head, remote.size, hint=_HINT)
    if end > _LONGEST_HEADER:
        what = f"the header has {end - 8} bytes, more than huggingface_hub itself reads from the Hub"
        raise CheckpointError(what, where=remote.where, hint=by_hand(remote.repo))
    return head if end <= len(head) else head + remote.read(len(head), end)
