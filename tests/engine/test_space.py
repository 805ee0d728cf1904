from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.engine.building import B200, partial_of, run
from toolkit.engine import space
from toolkit.engine.bundle import Bundle
from toolkit.engine.ranges import Range, clone
from toolkit.errors import BundleError


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=count))


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    nbytes = sum(path.stat().st_size for path in run(root, output, *B200).bundle.checkpoint_dir.glob("*.safetensors"))
    shutil.rmtree(output)
    needed = nbytes + (8 << 20)
    free(monkeypatch, needed - 1)
    seen: list[int] = []
    with pytest.raises(BundleError) as caught:
        run(root, output, *B200, progress=lambda done, total: seen.append(done))
    assert str(caught.value) == (
        f"{tmp_path}: not enough room: {needed:,} more bytes are needed, {needed - 1:,} are free. "
        "Make room, or set engine.output to another disk"
    )
    assert seen == []
    assert not list(partial_of(output).rglob("*.safetensors*"))
    free(monkeypatch, needed)
    run(root, output, *B200).bundle.check()


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
