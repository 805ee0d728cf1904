from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.bench import files
from toolkit.bench.files import remove_unfinished, write_folder


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    write_folder(tmp_path / "a" / "b", {"x": b"1", "y": b"2"})
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"a/b/x": b"1", "a/b/y": b"2"}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_an_existing_folder_is_left_as_it_is(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", {"x": b"1"})
    with pytest.raises(FileExistsError):
        write_folder(tmp_path / "a", {"x": b"2"})
    assert (tmp_path / "a" / "x").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_writer_leaves_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = files.write_atomic

    def killed(path: Path, data: bytes) -> None:
        if path.name == "y":
            path.with_name("y.tmp").write_bytes(data[:1])
            raise KeyboardInterrupt
        whole(path, data)

    monkeypatch.setattr(files, "write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "a", {"x": b"1", "y": b"22"})
    assert not (tmp_path / "a").exists()
    assert list(tmp_path.iterdir()) != []
    (tmp_path / "sweep.json.tmp").write_bytes(b"{")
    (tmp_path / "kept.json").write_bytes(b"{}")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
