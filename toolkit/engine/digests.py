"""SHA-256 of files, as the Hub's LFS has it: computed, compared with a source while it is computed, or published."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.engine.ranges import Range, mapped
from toolkit.engine.sha256 import EMPTY, TwoDigests, two_digests
from toolkit.errors import BundleError

CHUNK = 1 << 18  # small enough to be compared and hashed from the processor's cache
_WINDOW = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")

Tick = Callable[[int], None]
Bytes = NDArray[np.uint8]


class Copied(NamedTuple):
    """A source's range and where it stands in the target."""

    at: int
    source: Range


def sha256_of(file: Range, tick: Tick) -> str:
    """Hex SHA-256 of a range."""
    digest = hashlib.sha256()
    for data in _chunks(file, file.begin, file.end, tick):
        digest.update(data.data)
    return digest.hexdigest()


def proved_sha256(file: Range, copied: Sequence[Copied], source: Range | None, tick: Tick) -> tuple[str, str | None]:
    """Hex SHA-256 of ``file`` and that of ``source``; ``copied`` ranges are compared with their sources meanwhile.

    ``copied`` are in the order in which they stand; those that lie in ``source`` one behind the other are read once for
    both. ``tick`` gets the bytes of both files. Raises ``BundleError`` with the first byte that differs.
    """
    digests, at, position = two_digests(), file.begin, source.begin if source else 0
    for part in copied:
        ours = source is not None and _is_ahead(part.source, source, position)
        gap = _chunks(source, position, part.source.begin, tick) if ours and source is not None else iter(())
        _update(digests, _chunks(file, at, part.at, tick), gap)
        at = part.at + part.source.size
        wanted = _chunks(part.source, part.source.begin, part.source.end, tick if ours else _nothing)
        for begin, data, other in zip(range(part.at, at, CHUNK), _chunks(file, part.at, at, tick), wanted, strict=True):
            _compare(data, other, file, begin)
            digests.update(data, other if ours else EMPTY)
        position = part.source.end if ours else position
    rest = _chunks(source, position, source.end, tick) if source is not None else iter(())
    _update(digests, _chunks(file, at, file.end, tick), rest)
    first, second = digests.hexdigests()
    return first, second if source is not None else None


def _is_ahead(part: Range, source: Range, position: int) -> bool:
    return part.descriptor == source.descriptor and part.begin >= position


def _update(digests: TwoDigests, first: Iterator[Bytes], second: Iterator[Bytes]) -> None:
    for one, other in zip_longest(first, second, fillvalue=EMPTY):
        digests.update(one, other)


def _chunks(file: Range, begin: int, end: int, tick: Tick) -> Iterator[Bytes]:
    """Bytes ``begin`` up to ``end`` of a file in pieces of at most ``CHUNK``, mapped a window at a time, not copied."""
    for first in range(begin, end, _WINDOW):
        last = min(first + _WINDOW, end)
        window = mapped(file, first, last)
        for at in range(0, last - first, CHUNK):
            yield window[at : at + CHUNK]
        tick(last - first)


def _nothing(count: int) -> None:
    pass


def _compare(data: Bytes, wanted: Bytes, file: Range, at: int) -> None:
    if not np.array_equal(data, wanted):
        byte = at + int(np.flatnonzero(data != wanted)[0])
        raise BundleError(f"byte {byte} differs from its source", where=str(file.path), hint="Build again")


def published_sha256(path: Path) -> str | None:
    """The Hub's SHA-256 of a downloaded LFS file, None where it is not known.

    In the Hub's cache a snapshot's file is a link to a blob that has it as its name; beside a download to a folder
    (``local_dir``) it is the etag, the second line of ``.cache/huggingface/download/<file>.metadata``, which counts as
    long as the file was not touched after the time in the third line (huggingface_hub, ``_local_folder.py``).
    """
    blob = path.resolve()
    if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
        return blob.name
    try:
        lines = (path.parent / f".cache/huggingface/download/{path.name}.metadata").read_text().splitlines()
        etag, when = lines[1], float(lines[2])
    except (OSError, ValueError, IndexError):
        return None
    return etag if _SHA256.fullmatch(etag) and path.stat().st_mtime - 1 <= when else None


def sha256_path(path: Path, tick: Tick) -> str:
    """Hex SHA-256 of the file at ``path``."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return sha256_of(Range(path, descriptor, 0, os.fstat(descriptor).st_size), tick)
    finally:
        os.close(descriptor)
