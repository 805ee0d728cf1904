from __future__ import annotations

import hashlib
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.preflight.made_up import without_temporary_folder
from toolkit.chat.vocabulary import MAX_BYTES, O200K, File
from toolkit.preflight.host import has_file, limits, memory, storage, vocabulary
from toolkit.preflight.machine import HostMemory, Limits, Vocabulary

TOY = File("toy.tiktoken", "https://example.test/toy", hashlib.sha256(b"toy").hexdigest())
PROBLEMS = {"good": None, "absent": None, "damaged": "is damaged: its SHA-256 is another"}
CACHED = hashlib.sha1(b"https://example.test/toy").hexdigest()


def test_storage_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = storage(tmp_path / "build" / "bundle")
    usage = shutil.disk_usage(tmp_path)
    assert (found.path, found.total, found.writable) == (str(tmp_path), usage.total, True)
    assert 0 < found.free <= found.total
    assert found.device == storage(tmp_path).device
    assert list(tmp_path.iterdir()) == []


def test_storage_of_a_path_that_cannot_be_looked_at(tmp_path: Path) -> None:
    longer_than_a_name = tmp_path / ("x" * 300) / "bundle"
    assert storage(longer_than_a_name).path == str(tmp_path)
    assert not has_file(longer_than_a_name)
    assert not has_file(tmp_path)
    (tmp_path / "file").write_text("")
    assert has_file(tmp_path / "file")


def test_a_file_in_the_way_of_a_folder_takes_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "hub"):
        found = storage(path)
        assert (found.path, found.writable) == (str(tmp_path / "file"), False)


def test_storage_that_takes_no_file() -> None:
    assert not storage(Path("/proc")).writable


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage(Path("build")).path == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "MemTotal:       125526564 kB\nMemFree:  1 kB\nMemAvailable:   118000000 kB\n",
            HostMemory(125526564 * 1024, 118000000 * 1024),
        ),
        ("MemTotal:       125526564 kB\n", None),
        ("", None),
        (None, None),
    ],
)
def test_memory(tmp_path: Path, text: str | None, found: HostMemory | None) -> None:
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert memory(tmp_path / "meminfo") == found


def test_limits_are_the_soft_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    soft = {resource.RLIMIT_MEMLOCK: 65536, resource.RLIMIT_STACK: resource.RLIM_INFINITY, resource.RLIMIT_NOFILE: 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft[kind], resource.RLIM_INFINITY))
    assert limits() == Limits(65536, None, 1024)


@pytest.mark.parametrize(("content", "state"), [(b"toy", "good"), (b"to", "damaged"), (None, "absent")])
def test_vocabulary_in_the_base_folder(tmp_path: Path, content: bytes | None, state: str) -> None:
    file = tmp_path / "toy.tiktoken"
    if content is not None:
        file.write_bytes(content)
    environment = {"TIKTOKEN_ENCODINGS_BASE": str(tmp_path), "TIKTOKEN_RS_CACHE_DIR": "/nowhere"}
    assert vocabulary(TOY, environment) == Vocabulary(True, str(file), state, PROBLEMS[state])


@pytest.mark.parametrize(("content", "state"), [(b"toy", "good"), (b"", "damaged"), (None, "absent")])
def test_vocabulary_that_was_downloaded_before(tmp_path: Path, content: bytes | None, state: str) -> None:
    if content is not None:
        (tmp_path / CACHED).write_bytes(content)
    found = vocabulary(TOY, {"TIKTOKEN_RS_CACHE_DIR": str(tmp_path)})
    assert found == Vocabulary(False, str(tmp_path / CACHED), state, PROBLEMS[state])


def test_the_download_is_looked_for_under_the_name_that_openai_harmony_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = vocabulary(O200K, {})
    # as published for offline use of openai-harmony 0.0.8
    expected = tmp_path / "tiktoken-rs-cache" / "fb374d419588a4632f3f557e76b4b70aebbca790"
    assert found == Vocabulary(False, os.fspath(expected), "absent")


def test_what_is_no_file_in_the_vocabulary_s_place_is_not_read(tmp_path: Path) -> None:
    file, environment = tmp_path / "toy.tiktoken", {"TIKTOKEN_ENCODINGS_BASE": str(tmp_path)}
    os.mkfifo(file)
    assert vocabulary(TOY, environment) == Vocabulary(True, str(file), "damaged", "is a named pipe, not a file")
    file.unlink()
    file.mkdir()
    assert vocabulary(TOY, environment) == Vocabulary(True, str(file), "damaged", "is a folder, not a file")
    below = {"TIKTOKEN_ENCODINGS_BASE": "/dev/null"}
    assert vocabulary(TOY, below) == Vocabulary(True, "/dev/null/toy.tiktoken", "absent")


def test_a_file_too_large_for_a_vocabulary_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "toy.tiktoken"
    with file.open("wb") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    zeros = hashlib.sha256(bytes(MAX_BYTES + 1)).hexdigest()
    found = vocabulary(replace(TOY, sha256=zeros), {"TIKTOKEN_ENCODINGS_BASE": str(tmp_path)})
    assert found.state == "damaged"


def test_a_vocabulary_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "toy.tiktoken"
    file.symlink_to(file)
    found = vocabulary(TOY, {"TIKTOKEN_ENCODINGS_BASE": str(tmp_path)})
    assert found == Vocabulary(True, str(file), "damaged", "cannot be read (Too many levels of symbolic links)")


def test_the_download_where_no_temporary_folder_takes_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    without_temporary_folder(monkeypatch)
    assert vocabulary(TOY, {"TMPDIR": "/nowhere"}).path == f"/nowhere/tiktoken-rs-cache/{CACHED}"
    assert vocabulary(TOY, {}).path == f"/tmp/tiktoken-rs-cache/{CACHED}"
