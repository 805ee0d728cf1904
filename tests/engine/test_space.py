from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.building import B200, partial_of, run
from toolkit.checkpoint.source import Checkpoint
from toolkit.engine import build, reader, space
from toolkit.engine.bundle import Bundle
from toolkit.engine.ranges import Range, clone
from toolkit.errors import BundleError
from toolkit.plan.types import ShardPlan


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=count))


@pytest.mark.parametrize(("gpu", "workers"), [("b200", 1), ("h100", 1), ("h100", 2)])
def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: str, workers: int
) -> None:
    """MXFP4's scales are computed with the blocks and wait in a file for their turn, those of a shard a worker."""
    output, target = tmp_path / "out", (*B200, f"target.gpu={gpu}")
    run(root, output, *target)
    nbytes, waiting = 0, []
    for path in (output / "checkpoint").glob("*.safetensors"):
        nbytes += path.stat().st_size
        tensors = Checkpoint.open(output / "checkpoint").tensors.values()
        waiting.append(sum(t.nbytes for t in tensors if t.shard == path.name and t.name.endswith("_proj_scales")))
    assert any(waiting) is (gpu == "h100")
    shutil.rmtree(output)
    needed = nbytes + sum(sorted(waiting)[-workers:]) + (8 << 20)
    free(monkeypatch, needed - 1)
    seen: list[int] = []
    with pytest.raises(BundleError) as caught:
        run(root, output, *target, progress=lambda done, total: seen.append(done), workers=workers)
    assert str(caught.value) == (
        f"{tmp_path}: not enough room: {needed:,} more bytes are needed, {needed - 1:,} are free. "
        "Make room, or set engine.output to another disk"
    )
    assert seen == []
    assert not list(partial_of(output).rglob("*.safetensors*"))
    free(monkeypatch, needed)
    run(root, output, *target, workers=workers).bundle.check()


def test_what_waits_is_counted(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, counted, temporary = [0], [0], tempfile.TemporaryFile
    waiting_size = build.waiting_size

    def counting(**options: Any) -> Any:
        file = temporary(**options)
        write = file.write
        monkeypatch.setattr(file, "write", lambda data: written.__setitem__(0, written[0] + len(data)) or write(data))
        return file

    def noted(shard: ShardPlan) -> int:
        counted[0] += waiting_size(shard)
        return waiting_size(shard)

    monkeypatch.setattr(reader, "PART", 2000)
    monkeypatch.setattr(tempfile, "TemporaryFile", counting)
    monkeypatch.setattr(build, "waiting_size", noted)
    run(root, tmp_path / "out", *B200, "target.gpu=h100").bundle.check()
    assert 8 * written[0] == 7 * counted[0] > 0, "one expert at a time, and the last of eight waits for nothing"


def test_what_is_there_already_needs_no_room(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    run(root, output, *B200)
    free(monkeypatch, 8 << 20)
    assert run(root, output, *B200, "engine.max_batch_size=4").reused == 3
    Bundle.open(output).check()


@pytest.mark.parametrize("shares", [False, True])
def test_where_blocks_are_shared_unchanged_shards_need_no_room(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    free(monkeypatch, 8 << 20)
    monkeypatch.setattr(space, "clone", lambda source, target: shares or clone(source, target))
    if shares or _disk_shares(tmp_path):
        run(root, tmp_path / "out").bundle.check()
    else:
        with pytest.raises(BundleError, match="not enough room"):
            run(root, tmp_path / "out")


def _disk_shares(folder: Path) -> bool:
    (folder / "probe").write_bytes(b"probe")
    one, other = os.open(folder / "probe", os.O_RDONLY), os.open(folder / "probe2", os.O_RDWR | os.O_CREAT)
    try:
        return clone(Range(folder / "probe", one, 0, 5), other)
    finally:
        os.close(one)
        os.close(other)
        (folder / "probe").unlink()
        (folder / "probe2").unlink()
