from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.building import B200, partial_of, run, tree
from toolkit.engine.bundle import Bundle
from toolkit.errors import BundleError


class Crash(BaseException):
    """Stands for the process ending: nothing of ours catches it."""


def crash_after_first_shard(output: Path, shard: str) -> Callable[[int, int], None]:
    def crash(done: int, total: int) -> None:
        if (partial_of(output) / "checkpoint" / shard).exists():
            raise Crash

    return crash


@pytest.fixture
def shards(sample: Path) -> list[str]:
    return sorted(path.name for path in sample.glob("*.safetensors"))


@pytest.fixture
def interrupted(root: Path, tmp_path: Path, shards: list[str]) -> Path:
    """An output whose build for B200 ended after the first shard."""
    output = tmp_path / "out"
    with pytest.raises(Crash):
        run(root, output, *B200, progress=crash_after_first_shard(output, shards[0]), workers=1)
    return output


def test_finished_shards_are_kept_after_a_crash(root: Path, interrupted: Path, shards: list[str]) -> None:
    inode = (partial_of(interrupted) / "checkpoint" / shards[0]).stat().st_ino
    built = run(root, interrupted, *B200)
    assert built.reused == 1
    assert (built.bundle.checkpoint_dir / shards[0]).stat().st_ino == inode


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_finished_shard_that_was_damaged_is_written_again(
    root: Path, interrupted: Path, shards: list[str], tmp_path: Path, damage: str
) -> None:
    shard = partial_of(interrupted) / "checkpoint" / shards[0]
    data = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flip" else data[:-100])
    built = run(root, interrupted, *B200)
    assert built.reused == 0
    assert tree(built.bundle.checkpoint_dir) == tree(run(root, tmp_path / "clean", *B200).bundle.checkpoint_dir)


@pytest.mark.parametrize("journal", ["{", "{}", "[1]", '{"weights": 3, "finished": 4}'])
def test_a_garbled_journal_starts_the_build_over(root: Path, interrupted: Path, journal: str) -> None:
    (partial_of(interrupted) / "build.json").write_text(journal)
    built = run(root, interrupted, *B200)
    assert built.reused == 0
    built.bundle.check()


def test_what_does_not_belong_into_the_bundle_does_not_get_there(root: Path, interrupted: Path) -> None:
    (partial_of(interrupted) / "checkpoint" / "model-99999.safetensors").write_bytes(b"junk")
    (partial_of(interrupted) / "engine.json.tmp").write_bytes(b"{")
    bundle = run(root, interrupted, *B200).bundle
    bundle.check()
    assert "model-99999.safetensors" not in [path.name for path in bundle.folder.rglob("*")]


def crash_at(call: int, root: Path, output: Path, overrides: tuple[str, ...]) -> bool:
    """Build in a forked process that dies at the n-th change to the disk; False if there are fewer."""
    pid = os.fork()
    if pid == 0:
        left = call

        def dying(function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return function(*args, **kwargs)

            return wrapper

        for owner, name in (
            (os, "fsync"),
            (os, "rename"),
            (os, "replace"),
            (os, "unlink"),
            (os, "link"),
            (os, "rmdir"),
        ):
            setattr(owner, name, dying(getattr(owner, name)))
        try:
            run(root, output, *overrides)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("replacing", [False, True], ids=["new", "replacing"])
def test_a_process_that_dies_at_any_change_to_the_disk(root: Path, tmp_path: Path, replacing: bool) -> None:
    """Before: no bundle or the old one. After one more build: the new one, whole."""
    wanted = tree(run(root, tmp_path / "clean", *B200).bundle.checkpoint_dir)
    output = tmp_path / "out"
    call, step = 0, 4
    while True:
        shutil.rmtree(output, ignore_errors=True)
        if replacing:
            run(root, output)
        if not crash_at(call, root, output, B200):
            break
        if output.exists():
            Bundle.open(output).check()
        built = run(root, output, *B200)
        built.bundle.check()
        assert tree(built.bundle.checkpoint_dir) == wanted
        assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "out"], f"call {call}"
        call += step
    assert call > 30, "the crashes were inside the build"


def test_a_verified_build_that_was_not_put_in_place_is_not_made_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    def crash(self: Path, target: Path) -> Path:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(Crash):
            run(root, output)
    inodes = {path.name: path.stat().st_ino for path in (partial_of(output) / "checkpoint").iterdir()}
    assert run(root, output).made
    assert {path.name: path.stat().st_ino for path in (output / "checkpoint").iterdir()} == inodes


def test_a_full_disk_is_one_error_and_the_build_goes_on_later(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(BundleError) as caught:
            run(root, output, *B200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == (
        f"{output}: cannot build: File too large. The bundle needs 6,355,152 bytes there; make room and build again"
    )
    assert not output.exists()
    run(root, output, *B200).bundle.check()


def test_kill_9_at_a_random_moment_ten_times(root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    argv = [sys.executable, "-c", "from toolkit.cli import main; main()", "engine"]
    argv += [str(root / "recipes/tiny-gpt-oss/cpu.yaml"), "--set", f"engine.output={output}"]
    for override in B200:
        argv += ["--set", override]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    begin = time.monotonic()
    subprocess.run(argv, env=environment, check=True, capture_output=True)
    whole = time.monotonic() - begin
    wanted = tree(output / "checkpoint")
    chance = random.Random(20)
    killed = 0
    while killed < 10:
        shutil.rmtree(output, ignore_errors=True)
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=whole * chance.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            if output.exists():
                Bundle.open(output).check()
        subprocess.run(argv, env=environment, check=True, capture_output=True)
        Bundle.open(output).check()
        assert tree(output / "checkpoint") == wanted
