from __future__ import annotations

import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from toolkit.bench.environment import software


def test_versions_of_packages_come_before_those_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch": "2.9.0", "nvidia-nccl-cu13": "2.28.3"}

    def version(package: str) -> str:
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(metadata, "version", version)
    image = {"CUDA_VERSION": "13.0.0", "NCCL_VERSION": "2.27.7", "TRT_LLM_GIT_COMMIT": "abc"}
    assert software.gpu_versions(image) == {
        "torch": "2.9.0",
        "cuda": "13.0.0",
        "nccl": "2.28.3",
        "tensorrt-llm commit": "abc",
    }
    installed.clear()
    assert set(software.gpu_versions({}).values()) == {None}


def test_a_blas_that_cannot_be_told_its_threads_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "can_set_threads", lambda: True)
    told = software.describe_blas()
    monkeypatch.setattr(software, "can_set_threads", lambda: False)
    assert software.describe_blas() == f"{told}, threads by its own environment"


def test_the_source_digest_covers_names_and_bytes(tmp_path: Path) -> None:
    room, single = tmp_path / "room", tmp_path / "single.py"
    (room / "inner").mkdir(parents=True)
    (room / "inner" / "a.py").write_text("a")
    single.write_text("s")
    first = software.source_digest([room, single])
    assert re.fullmatch("[0-9a-f]{12}", first)
    (room / "notes.txt").write_text("not code")
    assert software.source_digest([room, single]) == first
    (room / "inner" / "a.py").rename(room / "inner" / "b.py")
    renamed = software.source_digest([room, single])
    single.write_text("t")
    assert len({first, renamed, software.source_digest([room, single])}) == 3


def test_git_commit(tmp_path: Path) -> None:
    assert software.git_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert software.git_commit(tmp_path) is None
    (tmp_path / ".git").rmdir()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert software.git_commit(tmp_path) == head
