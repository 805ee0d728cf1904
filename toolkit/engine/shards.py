"""Write one shard of a bundle and prove it. Holds one part of a tensor in memory at a time.

The proof. A computed part is read back from the file as soon as it is written and compared with what the codec gave. A
copied range is compared with the source's bytes in the same pass that reads the finished file from end to end for its
SHA-256. No byte of the file is left out: the header counts as computed, and every tensor must have got all its bytes.
So the SHA-256 is of the source's bytes and the codecs' results, and from then on it stands for them: a shard that was
finished earlier, or that an older bundle has, needs only to have it still.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.checkpoint.header import TensorInfo, layout
from toolkit.engine.actions import MAKERS, jobs_of
from toolkit.engine.copying import clone, copy, write
from toolkit.engine.digests import CHUNK, Copied, proved_sha256
from toolkit.engine.journal import Done
from toolkit.engine.ranges import Range, fill
from toolkit.engine.reader import Sources
from toolkit.errors import BundleError
from toolkit.numerics.fidelity import Report
from toolkit.plan.measure import Measured
from toolkit.plan.types import ShardPlan

Tick = Callable[[int], None]
Fidelity = dict[tuple[str, str], Report]
"""By source tensor and kind of action."""


def planned_size(shard: ShardPlan, sources: Sources) -> int:
    """Bytes of the file that ``make_shard`` writes."""
    return sources.main.file(shard.file).size if shard.unchanged else len(_layout(shard)[0]) + shard.nbytes


def part_of(target: Path) -> Path:
    """Where a shard grows."""
    return target.with_name(target.name + ".tmp")


def make_shard(shard: ShardPlan, sources: Sources, target: Path, tick: Tick) -> Done:
    """Write ``part_of(target)`` as planned and verify it; it is whole then, and not yet synced or renamed.

    ``tick`` gets every byte twice, and those of the source file of the same name, which is hashed in the same pass. A
    shard of which nothing changes is copied whole, header included, and has the SHA-256 of its source. Raises
    ``CheckpointError`` for a source that no codec takes, ``BundleError`` for a file that is not what was written, and
    ``OSError`` when the disk says no.
    """
    part = part_of(target)
    with _opened(part) as descriptor:
        if shard.unchanged:
            copied, fidelity = [Copied(0, sources.main.file(shard.file))], Fidelity()
        else:
            copied, fidelity = _write_computed(shard, sources, Range(part, descriptor, 0, 0), tick)
        for at, source in copied:
            if shard.unchanged and clone(source, descriptor):
                tick(source.size)
            else:
                copy(source, descriptor, at, tick)
        file = Range(part, descriptor, 0, os.fstat(descriptor).st_size)
        if file.size != (size := planned_size(shard, sources)):
            raise BundleError(f"has {file.size} bytes instead of {size}", where=str(part), hint="Build again")
        is_hashed = shard.file in sources.main.checkpoint.shards and not shard.unchanged
        sha256, of_source = proved_sha256(file, copied, sources.main.file(shard.file) if is_hashed else None, tick)
    measured = [Measured(tensor, kind, report).to_dict() for (tensor, kind), report in fidelity.items()]
    return Done(size=file.size, sha256=sha256, source=sha256 if shard.unchanged else of_source, fidelity=measured)


@contextmanager
def _opened(part: Path) -> Iterator[int]:
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _layout(shard: ShardPlan) -> tuple[bytes, dict[str, TensorInfo]]:
    writes = [(str(a.output), str(a.dtype), a.shape) for a in shard.actions if a.output is not None]
    return layout(shard.file, writes, {"format": "pt"})


def _write_computed(shard: ShardPlan, sources: Sources, file: Range, tick: Tick) -> tuple[list[Copied], Fidelity]:
    """Write the header and what is computed; what is left to copy, and what changes of format lost."""
    header, infos = _layout(shard)
    _write_and_compare(file, 0, np.frombuffer(header, np.uint8), tick)
    copied, fidelity = [], Fidelity()
    missing = {name: info.nbytes for name, info in infos.items()}
    for job in jobs_of(shard):
        for piece in MAKERS[job.kind](job, sources):
            at = infos[piece.output].begin + piece.begin
            missing[piece.output] -= piece.data.size
            if isinstance(piece.data, Range):
                copied.append(Copied(at, piece.data))
            else:
                _write_and_compare(file, at, piece.data, tick)
            if piece.report is not None:
                key = (job.inputs[0], job.kind)
                fidelity[key] = fidelity.get(key, Report()) + piece.report
    if wrong := [name for name, count in missing.items() if count]:
        raise BundleError(f"tensor {wrong[0]!r} would not get the bytes that its shape needs", where=str(file.path))
    return list(_joined(copied)), fidelity


def _write_and_compare(file: Range, at: int, data: NDArray[np.uint8], tick: Tick) -> None:
    write(file.descriptor, at, data.data)
    found = np.empty(min(CHUNK, data.size), np.uint8)
    for begin in range(0, data.size, CHUNK):
        wanted = data[begin : begin + CHUNK]
        fill(file.descriptor, at + begin, found[: wanted.size].data, file.path)
        if not np.array_equal(found[: wanted.size], wanted):
            byte = at + begin + int(np.flatnonzero(found[: wanted.size] != wanted)[0])
            raise BundleError(f"byte {byte} is not what was written", where=str(file.path), hint="Check the disk")
    tick(data.size)


def _joined(copied: Iterable[Copied]) -> Iterator[Copied]:
    """In the order in which they stand; neighbours that are neighbours in one source file, too, as one range."""
    before: Copied | None = None
    for part in sorted(copied, key=lambda part: part.at):
        if before is None:
            before = part
        elif _follows(before, part):
            source = before.source
            before = Copied(before.at, Range(source.path, source.descriptor, source.begin, part.source.end))
        else:
            yield before
            before = part
    if before is not None:
        yield before


def _follows(before: Copied, part: Copied) -> bool:
    one, other = before.source, part.source
    return one.descriptor == other.descriptor and one.end == other.begin and before.at + one.size == part.at
