"""Sources and disks that are not what a build hopes for."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.building import B200, partial_of, run, tree
from toolkit.engine import build as build_module
from toolkit.engine import output as output_module
from toolkit.engine import shards as shards_module
from toolkit.engine.actions import MAKERS, Job, Piece
from toolkit.engine.bundle import Bundle
from toolkit.engine.inputs import check_inputs
from toolkit.engine.reader import Reader, Sources
from toolkit.errors import BundleError, CheckpointError

SECOND = "model-00002-of-00003.safetensors"


@pytest.fixture
def source(sample: Path, tmp_path: Path) -> Path:
    shutil.copytree(sample, tmp_path / "source")
    return tmp_path / "source"


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("trtkit-build")]


def test_a_source_that_may_only_be_read(root: Path, source: Path, tmp_path: Path) -> None:
    for path in source.iterdir():
        path.chmod(0o444)
    source.chmod(0o555)
    try:
        bundle = run(root, tmp_path / "out", *B200, f"checkpoint.path={source}").bundle
        bundle.check()
        assert all(os.access(path, os.W_OK) for path in bundle.folder.rglob("*")), "its modes are not taken over"
    finally:
        source.chmod(0o755)


@pytest.mark.parametrize("target", [(), B200], ids=["unchanged", "rewritten"])
def test_an_output_on_another_file_system(root: Path, tmp_path: Path, target: tuple[str, ...]) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev or not os.access(shared, os.W_OK):
        pytest.skip("there is only one file system to write to")
    output = shared / f"trtkit-{os.getpid()}" / "out"
    try:
        bundle = run(root, output, *target).bundle
        bundle.check()
        assert tree(bundle.checkpoint_dir) == tree(run(root, tmp_path / "here", *target).bundle.checkpoint_dir)
    finally:
        shutil.rmtree(output.parent)


def in_cache(source: Path, tmp_path: Path, damaged: str | None = None) -> Path:
    """The source as huggingface_hub keeps it: blobs named by their SHA-256, a snapshot of links."""
    snapshot = tmp_path / "hub" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub" / "blobs").mkdir()
    for path in source.iterdir():
        data = path.read_bytes()
        blob = hashlib.sha256(data).hexdigest()
        if path.name == damaged:
            data = data[:-1] + bytes([data[-1] ^ 0x10])
        (tmp_path / "hub" / "blobs" / blob).write_bytes(data)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob)
    return snapshot


@pytest.mark.parametrize("target", [(), B200], ids=["unchanged", "rewritten"])
def test_a_download_with_the_wrong_hash(root: Path, source: Path, tmp_path: Path, target: tuple[str, ...]) -> None:
    snapshot = in_cache(source, tmp_path, damaged=SECOND)
    blob = (snapshot / SECOND).resolve()
    found = hashlib.sha256(blob.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError) as caught:
        run(root, tmp_path / "out", *target, f"checkpoint.path={snapshot}")
    assert str(caught.value) == (
        f"{snapshot / SECOND}: wrong hash: SHA-256 {found}, but the Hub has {blob.name}. "
        f"Delete {blob} and type: trtkit engine RECIPE --fetch"
    )
    assert not (tmp_path / "out").exists()
    blob.write_bytes((source / SECOND).read_bytes())
    built = run(root, tmp_path / "out", *target, f"checkpoint.path={snapshot}")
    built.bundle.check()
    assert built.bundle.manifest["source"]["files"][SECOND] == {"sha256": blob.name}


def test_every_source_has_its_hash_in_the_manifest_however_the_shards_came_about(
    root: Path, source: Path, tmp_path: Path
) -> None:
    wanted = {path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in source.iterdir()}
    output, overrides = tmp_path / "out", (*B200, f"checkpoint.path={source}")
    for more in ((), ("engine.max_batch_size=4",)):  # written, then linked from the bundle before
        assert run(root, output, *overrides, *more).bundle.manifest["source"]["files"] == wanted

    class Crash(Exception):
        pass

    def crash(done: int, total: int) -> None:
        if (partial_of(output) / "checkpoint" / SECOND).exists():
            raise Crash

    shutil.rmtree(output)
    with pytest.raises(Crash):
        run(root, output, *overrides, progress=crash, workers=1)
    built = run(root, output, *overrides)  # resumed
    assert (built.reused, built.bundle.manifest["source"]["files"]) == (2, wanted)


@pytest.mark.parametrize("cut", [100, 1_000_000])
@pytest.mark.parametrize("target", [(), B200], ids=["unchanged", "rewritten"])
def test_a_source_that_is_cut_short_meanwhile(
    root: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int, target: tuple[str, ...]
) -> None:
    output, path = tmp_path / "out", source / SECOND
    before = path.stat()
    data = path.read_bytes()

    def check_then_cut(names: Iterable[str], reader: Reader) -> None:
        check_inputs(names, reader)
        os.truncate(path, len(data) - cut)

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "check_inputs", check_then_cut)
        with pytest.raises(BundleError, match=r"source.*: the source changed while it was read"):
            run(root, output, *target, f"checkpoint.path={source}", workers=1)
    assert not output.exists()
    assert threads() == []
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    run(root, output, *target, f"checkpoint.path={source}").bundle.check()


@pytest.mark.parametrize("target", [(), B200], ids=["unchanged", "rewritten"])
def test_a_disk_that_writes_something_else_is_found_by_the_check(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: tuple[str, ...]
) -> None:
    pwrite = os.pwrite

    def bad(descriptor: int, data: memoryview, at: int) -> int:
        changed = bytearray(data)
        changed[len(changed) // 2] ^= len(changed) > 100_000
        return pwrite(descriptor, changed, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", bad)
        # without direct writes, which take no bytes from elsewhere
        patch.setattr(output_module, "_DIRECT", 0)
        bundle = run(root, tmp_path / "out", *target).bundle
    with pytest.raises(BundleError, match=r"checkpoint/model-\d+-of-00003.safetensors is not what was built"):
        bundle.check()


@pytest.mark.parametrize("target", [B200, (*B200, "target.gpu=h100")], ids=["dequantised", "transcoded"])
def test_tensors_that_do_not_get_their_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: tuple[str, ...]
) -> None:
    kind = "dequantize" if target == B200 else "transcode"
    make = MAKERS[kind]

    def lacking(job: Job, sources: Sources) -> Iterator[Piece]:
        for piece in make(job, sources):
            yield (
                piece
                if piece.begin or not piece.output.endswith(("_scales", "weight"))
                else replace(piece, data=piece.data[:-1])
            )

    monkeypatch.setattr(shards_module, "MAKERS", {**MAKERS, kind: lacking})
    with pytest.raises(BundleError, match=r"tensor '.*' would not get the bytes that its shape needs"):
        run(root, tmp_path / "out", *target)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_at_any_write(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, no bundle, no thread; the next build, with room, is whole."""
    monkeypatch.setattr(output_module, "BUFFER", 1 << 18)
    output, calls = tmp_path / "out", [0]

    def filling(function: Callable[..., Any], last: int) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls[0] += 1
            if calls[0] > last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args)

        return call

    last, refused = 0, 0
    while True:
        calls[0] = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", filling(os.pwrite, last))
            with suppress(BundleError):
                run(root, output, *B200)
                break
            with pytest.raises(BundleError) as caught:
                run(root, output, *B200)
        assert str(caught.value) == (
            f"{output}: cannot build: No space left on device. "
            "The bundle needs 6,355,152 bytes there; make room and build again"
        )
        assert (output.exists(), threads()) == (False, [])
        last, refused = last + 3, refused + 1
    assert refused > 3
    Bundle.open(output).check()
    assert tree(output / "checkpoint") == tree(run(root, tmp_path / "clean", *B200).bundle.checkpoint_dir)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_ctrl_c_at_any_moment_leaves_no_thread_and_goes_on(root: Path, tmp_path: Path, share: float) -> None:
    output = tmp_path / "out"

    def interrupt(done: int, total: int) -> None:
        if done >= share * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(root, output, *B200, progress=interrupt)
    assert (output.exists(), threads()) == (False, [])
    run(root, output, *B200).bundle.check()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_progress_ends_where_it_says(root: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    for overrides in ((), B200, (*B200, "target.gpu=h100"), (*B200, "engine.max_batch_size=4")):
        seen.clear()
        run(root, tmp_path / "out", *overrides, progress=lambda done, total: seen.append((done, total)))
        assert len({total for _, total in seen}) == 1
        assert seen[-1][0] == seen[-1][1]
        assert seen == sorted(seen)
