"""Write one shard of a bundle, in one pass: read, changed where the plan says so, hashed and written.

The proof. A shard's SHA-256 is of the bytes that were given to the file system, hashed in the memory that was written,
and its source's is of the bytes that were read; every tensor must have got all its bytes and the file its planned size.
Nothing is read back here. What the disk has is compared with the SHA-256 later: of a shard that an earlier run or an
older bundle left, when a build takes it over, and of a whole bundle by ``trtkit engine --check``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from toolkit.checkpoint.header import TensorInfo, layout
from toolkit.engine.actions import MAKERS, Job, jobs_of
from toolkit.engine.digests import Digests, sha256_of
from toolkit.engine.journal import Done
from toolkit.engine.output import Output
from toolkit.engine.ranges import Bytes, Range, clone
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


def waiting_size(shard: ShardPlan) -> int:
    """Bytes that ``make_shard`` may store beside the file meanwhile: all but the first outputs of its computations."""
    _, infos = _layout(shard)
    return sum(infos[str(action.output)].nbytes for job in jobs_of(shard) for action in job.actions[1:])


def part_of(target: Path) -> Path:
    """Where a shard grows."""
    return target.with_name(target.name + ".tmp")


def make_shard(shard: ShardPlan, sources: Sources, target: Path, tick: Tick) -> Done:
    """Write ``part_of(target)`` as planned; it is whole then, and not yet synced or renamed.

    ``tick`` gets every byte, and those of the source file of the same name, which is hashed in the same pass. A shard
    of which nothing changes is copied whole, header included, or shares its source's blocks, and has its SHA-256.
    Raises ``CheckpointError`` for a source that no codec takes, ``BundleError`` for one that changes meanwhile, and
    ``OSError`` when the disk says no.
    """
    part, size = part_of(target), planned_size(shard, sources)
    with _opened(part) as descriptor:
        make = _copied if shard.unchanged else _computed
        done = make(shard, sources, Range(part, descriptor, 0, size), tick)
        if (found := os.fstat(descriptor).st_size) != size:
            raise BundleError(f"has {found} bytes instead of {size}", where=str(part), hint="Build again")
    return done


def _copied(shard: ShardPlan, sources: Sources, file: Range, tick: Tick) -> Done:
    source = sources.main.file(shard.file)
    if clone(source, file.descriptor):
        sha256 = sha256_of(file, tick)
    else:
        digests = Digests(None, tick)
        with Output(file.descriptor, digests) as output:
            output.append(source)
            output.finish()
        sha256, _ = digests.hexdigests()
    return Done(size=file.size, sha256=sha256, source=sha256)


def _computed(shard: ShardPlan, sources: Sources, file: Range, tick: Tick) -> Done:
    has_source = shard.file in sources.main.checkpoint.shards
    digests = Digests(sources.main.file(shard.file) if has_source else None, tick)
    with Output(file.descriptor, digests) as output, _InOrder(output, file.path.parent) as pieces:
        fidelity = _make(shard, sources, pieces)
        output.finish()
    sha256, of_source = digests.hexdigests()
    measured = [Measured(tensor, kind, report).to_dict() for (tensor, kind), report in fidelity.items()]
    return Done(size=file.size, sha256=sha256, source=of_source, fidelity=measured)


def _make(shard: ShardPlan, sources: Sources, pieces: _InOrder) -> Fidelity:
    """Hand on the header and all pieces of all tensors; what changes of format lost."""
    header, infos = _layout(shard)
    pieces.put(0, np.frombuffer(header, np.uint8))
    fidelity = Fidelity()
    missing = {name: info.nbytes for name, info in infos.items()}
    for job in jobs_of(shard):
        bound = _bound(job, sources, shard.file)
        for piece in MAKERS[job.kind](job, sources):
            missing[piece.output] -= piece.data.size
            pieces.put(infos[piece.output].begin + piece.begin, piece.data, bound)
            if piece.report is not None:
                key = (job.inputs[0], job.kind)
                fidelity[key] = fidelity.get(key, Report()) + piece.report
    if wrong := [name for name, count in missing.items() if count]:
        raise BundleError(f"tensor {wrong[0]!r} would not get the bytes that its shape needs", where=shard.file)
    return fidelity


def _bound(job: Job, sources: Sources, file: str) -> int:
    """Where a job's inputs end in this source file."""
    infos = (sources.main.info(name) for name in job.inputs)
    return max((info.end for info in infos if info.shard == file), default=0)


@contextmanager
def _opened(part: Path) -> Iterator[int]:
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _layout(shard: ShardPlan) -> tuple[bytes, dict[str, TensorInfo]]:
    actions = (action for job in jobs_of(shard) for action in job.actions)
    writes = [(str(a.output), str(a.dtype), a.shape) for a in actions if a.output is not None]
    return layout(shard.file, writes, {"format": "pt"})


class _InOrder(ExitStack):
    """Hands pieces to ``output`` in the order in which they stand.

    One computation may serve tensors that stand apart. What is computed before its turn waits in a file without a name
    in ``folder``, so that memory stays bounded.
    """

    def __init__(self, output: Output, folder: Path) -> None:
        super().__init__()
        self._output, self._folder = output, folder
        self._waiting: dict[int, tuple[Range, int]] = {}
        self._scratch: IO[bytes] | None = None

    def put(self, at: int, data: Bytes | Range, bound: int = 0) -> None:
        """Data for byte ``at`` of the file; ``bound`` as in ``Part``."""
        if at != self._output.position:
            if data.size:
                self._waiting[at] = data if isinstance(data, Range) else self._kept(data), bound
            return
        self._output.append(data, bound)
        while (ready := self._waiting.pop(self._output.position, None)) is not None:
            self._output.append(*ready)

    def _kept(self, data: Bytes) -> Range:
        if self._scratch is None:
            self._scratch = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self.enter_context(self._scratch)
        begin = self._scratch.tell()
        rest = data.data
        while rest:
            rest = rest[self._scratch.write(rest) :]
        return Range(self._folder, self._scratch.fileno(), begin, begin + data.size)
