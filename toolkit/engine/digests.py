"""SHA-256 of files, as the Hub's LFS has it: of one, of one that is made together with its source, or published."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from toolkit.engine.ranges import CHUNK, Bytes, Range, chunks, fill
from toolkit.engine.sha256 import EMPTY, two_digests

_SHA256 = re.compile(r"[0-9a-f]{64}")

Tick = Callable[[int], None]


class Part(NamedTuple):
    """The next bytes of a file that is made: those of another file's range ``origin``, or computed ones.

    What they were made of ends at byte ``bound`` of the source; 0 where it is in none or another file.
    """

    data: Bytes
    origin: Range | None
    bound: int = 0


class Digests:
    """SHA-256 of a file that is made, part by part, and of ``source``, the whole file it is made from.

    Bytes that were copied from the source in its order are hashed for both out of the same memory. All others of the
    source are read for this, beside those of the file as far as possible: two at once are faster than one after the
    other. ``tick`` gets the bytes of both files.
    """

    def __init__(self, source: Range | None, tick: Tick) -> None:
        self._source, self._tick, self._two = source, tick, two_digests()
        self._position, self._memory = 0, np.empty(CHUNK, np.uint8)

    def update(self, part: Part) -> None:
        """Raises ``BundleError`` for a source that was cut short."""
        source, origin = self._source, part.origin
        if source and origin and origin.descriptor == source.descriptor and origin.begin >= self._position:
            self._side_by_side(EMPTY, origin.begin)
            self._two.update(part.data, part.data)
            self._position = origin.end
            self._tick(2 * part.data.size)
        else:
            self._side_by_side(part.data, min(self._position + part.data.size, part.bound) if source else 0)

    def hexdigests(self) -> tuple[str, str | None]:
        """Hex SHA-256 of the file and of the source, what is left of which is read now."""
        if self._source:
            self._side_by_side(EMPTY, self._source.end)
        made, source = self._two.hexdigests()
        return made, source if self._source else None

    def _side_by_side(self, data: Bytes, end: int) -> None:
        """Go on with ``data``, and with the source up to its byte ``end``."""
        begin = 0
        while begin < data.size or self._position < end:
            one, other = data[begin : begin + CHUNK], self._next(end)
            self._two.update(one, other)
            self._tick(one.size + other.size)
            begin += one.size

    def _next(self, end: int) -> Bytes:
        if self._source is None or self._position >= end:
            return EMPTY
        data = self._memory[: end - self._position]
        fill(data, self._source.cut(self._position, self._position + data.size))
        self._position += data.size
        return data


def sha256_of(file: Range, tick: Tick) -> str:
    """Hex SHA-256 of a range."""
    two = two_digests()
    for data in chunks(file):
        two.update(data, EMPTY)
        tick(data.size)
    return two.hexdigests()[0]


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
