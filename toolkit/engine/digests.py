"""SHA-256 of files, as the Hub's LFS has it: computed, compared with a source while it is computed, or published."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from toolkit.engine.reader import Range, fill
from toolkit.errors import BundleError

CHUNK = 1 << 20  # small enough to be compared and hashed from the processor's cache
_TICK = 8 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")

Tick = Callable[[int], None]


class Copied(NamedTuple):
    """A source's range and where it stands in the target."""

    at: int
    source: Range


def sha256_of(file: Range, tick: Tick) -> str:
    """Hex SHA-256 of a range."""
    return verified_sha256(file, (), tick)


def verified_sha256(file: Range, copied: Iterable[Copied], tick: Tick) -> str:
    """Hex SHA-256 of ``file``, read once, while the ``copied`` ranges in it are compared with their sources.

    ``copied`` are in the order in which they stand. Raises ``BundleError`` with the first byte that differs.
    """
    digest, pending = hashlib.sha256(), 0
    for begin, end, origin in _segments(file, copied):
        for at in range(begin, end, CHUNK):
            data = _read(file, at, min(CHUNK, end - at))
            digest.update(data)
            if origin is not None:
                _compare(data, _read(origin.source, origin.source.begin + at - origin.at, len(data)), file, at)
            pending += len(data)
            if pending >= _TICK:
                tick(pending)
                pending = 0
    tick(pending)
    return digest.hexdigest()


def _read(file: Range, begin: int, size: int) -> bytearray:
    data = bytearray(size)
    fill(file.descriptor, begin, memoryview(data), file.path)
    return data


def _compare(data: bytearray, wanted: bytearray, file: Range, at: int) -> None:
    if data != wanted:
        byte = at + next(i for i, (one, other) in enumerate(zip(data, wanted, strict=True)) if one != other)
        raise BundleError(f"byte {byte} differs from its source", where=str(file.path), hint="Build again")


def _segments(file: Range, copied: Iterable[Copied]) -> Iterator[tuple[int, int, Copied | None]]:
    """The whole file as pieces that have a source and pieces that have none."""
    begin = file.begin
    for part in copied:
        if part.at > begin:
            yield begin, part.at, None
        begin = part.at + part.source.size
        yield part.at, begin, part
    if file.end > begin:
        yield begin, file.end, None


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
