"""Checkpoint folders: whole ones, and each way of not being whole."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from tests.helpers import INDEX, example_tensors, write_checkpoint, write_json
from toolkit.checkpoint.census import take_census
from toolkit.checkpoint.source import Checkpoint, is_complete, read_json
from toolkit.errors import CheckpointError

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SAME_EXPORT = "Take the index and the shards from one export"
RECOVER = "Copy or download this file again"
PERMISSION = "Make it readable for this user (chmod, chown)"
COMPLETE = "Complete the download, or name a complete folder"


def message_of(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(folder)
    return str(caught.value)


def weights(*names: str) -> dict[str, tuple[str, np.ndarray]]:
    return {name: ("U8", np.frombuffer(name.encode(), np.uint8)) for name in names}


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model", {SECOND: weights("c"), FIRST: weights("b", "a")})


def test_single_file(tmp_path: Path) -> None:
    tensors = example_tensors()
    folder = write_checkpoint(tmp_path / "m", {"model.safetensors": tensors}, quant_config={"producer": {}})
    with Checkpoint.open(folder) as checkpoint:
        assert checkpoint.folder == folder
        assert checkpoint.config == {"architectures": ["GptOssForCausalLM"]}
        assert checkpoint.quant_config == {"producer": {}}
        assert checkpoint.shards == ("model.safetensors",)
        assert list(checkpoint.tensors) == list(tensors)
        for name, (_, expected) in tensors.items():
            np.testing.assert_array_equal(checkpoint.array(name), expected)
            assert bytes(checkpoint.raw(name)) == expected.tobytes()


def test_shards_in_order_and_tensors_by_offset(sharded: Path) -> None:
    with Checkpoint.open(sharded) as checkpoint:
        assert checkpoint.shards == (FIRST, SECOND)
        assert {name: info.shard for name, info in checkpoint.tensors.items()} == {"b": FIRST, "a": FIRST, "c": SECOND}
        assert list(checkpoint.tensors) == ["b", "a", "c"]
        assert bytes(checkpoint.raw("c")) == b"c"
        assert checkpoint.quant_config is None


def test_files_that_the_index_does_not_name_are_ignored(sharded: Path) -> None:
    (sharded / "model.safetensors").write_bytes(b"not a shard")
    with Checkpoint.open(sharded) as checkpoint:
        assert checkpoint.shards == (FIRST, SECOND)


def test_opening_maps_no_shard(sharded: Path) -> None:
    """Headers alone are read at opening; a tensor is read when asked for."""
    with Checkpoint.open(sharded) as checkpoint:
        content = bytearray((sharded / FIRST).read_bytes())
        content[-1] = ord("z")
        (sharded / FIRST).write_bytes(content)
        assert bytes(checkpoint.raw("a")) == b"z"


def test_reading_again_after_close(sharded: Path) -> None:
    checkpoint = Checkpoint.open(sharded)
    before = checkpoint.array("a")
    checkpoint.close()
    assert before.tobytes() == bytes(checkpoint.raw("a")) == b"a"


def test_unknown_tensor(sharded: Path) -> None:
    with Checkpoint.open(sharded) as checkpoint, pytest.raises(CheckpointError) as caught:
        checkpoint.array("x")
    assert str(caught.value) == f"{sharded}: no tensor 'x'"


def test_sharded_and_single_export_hold_the_same(shared_fixtures: Path) -> None:
    one = Checkpoint.open(shared_fixtures / "tiny-gpt-oss-nvfp4-modelopt-0.37")
    many = Checkpoint.open(shared_fixtures / "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37")
    assert (len(one.shards), len(many.shards), len(one.tensors)) == (1, 4, 73)
    assert set(one.tensors) == set(many.tensors)
    for name in one.tensors:
        assert one.raw(name) == many.raw(name)
        assert one.tensors[name].shape == many.tensors[name].shape
    assert (one.config, one.quant_config) == (many.config, many.quant_config)


def test_no_folder(tmp_path: Path) -> None:
    assert message_of(tmp_path / "no") == (
        f"{tmp_path / 'no'}: no such folder. Name the checkpoint's folder (in a recipe: checkpoint.path)"
    )


def test_no_config(sharded: Path) -> None:
    (sharded / "config.json").unlink()
    assert message_of(sharded) == f"{sharded}: config.json is missing. {COMPLETE}"


@pytest.mark.parametrize("file", ["config.json", "hf_quant_config.json", INDEX])
def test_json_that_is_not(sharded: Path, file: str) -> None:
    (sharded / file).write_text("{")
    syntax = "Expecting property name enclosed in double quotes"
    assert message_of(sharded) == f"{sharded / file}: is not JSON ({syntax}), line 1. {RECOVER}"
    (sharded / file).write_text('{"a": 1,\n"b": 2,\n')
    assert message_of(sharded) == f"{sharded / file}: is not JSON ({syntax}), line 3. {RECOVER}"
    (sharded / file).write_text("[]")
    assert message_of(sharded) == f"{sharded / file}: is not a JSON object. {RECOVER}"


@pytest.mark.parametrize("file", ["config.json", "hf_quant_config.json", INDEX])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "(nested too deep)"),
        ('{"a": ' + "1" * 5000 + "}", "(a number is too long)"),
        ('{"a":\n"\xff"}', "(not UTF-8), line 2"),
        ('{"a": NaN}', "(NaN is no number there)"),
        ('{"a": "\\ud800"}', "(half of a surrogate pair)"),
    ],
    ids=["deep", "digits", "bytes", "nan", "surrogate"],
)
def test_json_that_python_gives_up_on_or_should(sharded: Path, file: str, text: str, reason: str) -> None:
    (sharded / file).write_bytes(text.encode("latin-1"))
    assert message_of(sharded) == f"{sharded / file}: is not JSON {reason}. {RECOVER}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"a": -Infinity}', "-Infinity is no number there"), ('{"a": 1, "a": 1}', "it holds 'a' twice")],
)
def test_what_transformers_reads_in_its_config_is_refused_in_the_other_files(
    sharded: Path, text: str, reason: str
) -> None:
    (sharded / "config.json").write_text(text)
    with Checkpoint.open(sharded) as checkpoint:
        assert checkpoint.config in ({"a": -math.inf}, {"a": 1})
    (sharded / "hf_quant_config.json").write_text(text)
    assert message_of(sharded) == f"{sharded / 'hf_quant_config.json'}: is not JSON ({reason}). {RECOVER}"


@pytest.mark.parametrize("file", ["config.json", "hf_quant_config.json", INDEX])
def test_json_too_long_to_be_read(sharded: Path, file: str) -> None:
    with (sharded / file).open("wb") as sparse:
        sparse.truncate(1 << 40)
    what = "is longer than 67108864 bytes, too long for a JSON file of a checkpoint"
    assert message_of(sharded) == f"{sharded / file}: {what}. {RECOVER}"


FILES = ["config.json", "hf_quant_config.json", INDEX, FIRST]


@pytest.mark.parametrize("file", FILES)
def test_links_in_a_circle(sharded: Path, file: str) -> None:
    (sharded / file).unlink(missing_ok=True)
    (sharded / file).symlink_to(file)
    what = "cannot be read (Too many levels of symbolic links). Replace the link by the file that it should lead to"
    assert message_of(sharded) == f"{sharded / file}: {what}"


@pytest.mark.parametrize("file", FILES)
def test_a_link_that_leads_nowhere(sharded: Path, file: str) -> None:
    (sharded / file).unlink(missing_ok=True)
    (sharded / file).symlink_to("../blobs/absent")
    assert message_of(sharded) == f"{sharded / file}: cannot be read (No such file or directory). {COMPLETE}"


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unbound, contextlib.chdir(path.parent):  # a short name: 108 bytes at most
        unbound.bind(path.name)


KINDS: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a named pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": make_socket,
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file(sharded: Path, file: str, kind: str) -> None:
    (sharded / file).unlink(missing_ok=True)
    KINDS[kind](sharded / file)
    assert message_of(sharded) == f"{sharded / file}: is {kind}, not a file. Put the file itself in its place"


def test_a_file_where_the_folder_should_be(sharded: Path) -> None:
    file = sharded / FIRST
    assert message_of(file) == f"{file}: is a file, not a folder. Name the folder that holds it"


def test_a_folder_that_is_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert message_of(tmp_path / "a").startswith(
        f"{tmp_path / 'a'}: cannot be read (Too many levels of symbolic links)"
    )


def test_several_shards_without_an_index(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    what = f"2 shards ({FIRST!r} …) are there, but no {INDEX}. Fetch the index from where the shards came from"
    assert message_of(sharded) == f"{sharded}: {what}"


def test_one_file_of_another_name(sharded: Path) -> None:
    (sharded / INDEX).unlink()
    (sharded / FIRST).unlink()
    what = f"the only weights are {SECOND!r}, not model.safetensors. Rename that file to model.safetensors"
    assert message_of(sharded) == f"{sharded}: {what}"


def no_permission(path: Path, *_: object, **__: object) -> NoReturn:
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize(("method", "file"), [("iterdir", ""), ("stat", "config.json"), ("open", "config.json")])
def test_what_may_not_be_read_is_named(sharded: Path, monkeypatch: pytest.MonkeyPatch, method: str, file: str) -> None:
    monkeypatch.setattr(Path, method, no_permission)
    assert message_of(sharded) == f"{sharded / file}: cannot be read (Permission denied). {PERMISSION}"


@pytest.mark.parametrize("method", ["is_file", "exists"])
def test_a_search_that_may_not_be_made(sharded: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(Path, method, no_permission)
    ask = {"is_file": is_complete, "exists": lambda folder: read_json(folder / "config.json")}[method]
    with pytest.raises(CheckpointError, match=r"config[.]json: cannot be read \(Permission denied\)"):
        ask(sharded)


def test_a_folder_that_may_not_be_listed(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint.open(sharded) as checkpoint:
        monkeypatch.setattr(Path, "iterdir", no_permission)
        with pytest.raises(CheckpointError) as caught:
            take_census(checkpoint)
    assert str(caught.value) == f"{sharded}: cannot be read (Permission denied). {PERMISSION}"


def test_a_shard_that_goes_away(sharded: Path) -> None:
    with Checkpoint.open(sharded) as checkpoint:
        (sharded / SECOND).unlink()
        with pytest.raises(CheckpointError) as caught:
            checkpoint.array("c")
    assert str(caught.value) == f"{sharded / SECOND}: cannot be read (No such file or directory). {COMPLETE}"


def test_no_weights(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, {})
    assert message_of(folder) == f"{folder}: neither {INDEX} nor model.safetensors is there. {COMPLETE}"


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": []}])
def test_index_without_map(sharded: Path, index: dict) -> None:
    write_json(sharded / INDEX, index)
    assert message_of(sharded) == f"{sharded / INDEX}: weight_map is missing or empty. {RECOVER}"


@pytest.mark.parametrize("file", ["../secret", "/etc/passwd", "a/b", "..", ".", "", "a\0", 3])
def test_index_pointing_outside_the_folder(sharded: Path, file: object) -> None:
    write_json(sharded / INDEX, {"weight_map": {"a": file}})
    assert message_of(sharded) == f"{sharded / INDEX}: weight_map sends 'a' to {file!r}, not a file name. {RECOVER}"


def test_an_index_of_more_tensors_than_any(sharded: Path) -> None:
    write_json(sharded / INDEX, {"weight_map": dict.fromkeys(map(str, range(500_001)), FIRST)})
    what = "weight_map names 500001 tensors, over the 500000 that are read"
    assert message_of(sharded) == f"{sharded / INDEX}: {what}. {RECOVER}"


def test_missing_shard(sharded: Path) -> None:
    (sharded / SECOND).unlink()
    assert message_of(sharded) == f"{sharded / INDEX}: the shard {SECOND!r} is missing. {COMPLETE}"


def test_index_naming_an_absent_tensor(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["ghost"] = FIRST
    write_json(sharded / INDEX, index)
    assert message_of(sharded) == f"{sharded / INDEX}: tensor 'ghost' is not in the shard {FIRST!r}. {SAME_EXPORT}"


def test_tensor_that_the_index_lacks(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, {FIRST: weights("a", "b")}, weight_map={"a": FIRST})
    begin = (folder / FIRST).stat().st_size - 1
    what = f"is in this shard, but the index lacks it. {SAME_EXPORT}"
    assert message_of(folder) == f"{folder / FIRST}, tensor 'b', byte {begin}: {what}"


def test_tensor_in_two_shards(tmp_path: Path) -> None:
    shards = {FIRST: weights("a"), SECOND: weights("a", "b")}
    folder = write_checkpoint(tmp_path, shards, weight_map={"a": FIRST, "b": SECOND})
    begin = (folder / SECOND).stat().st_size - 2
    what = f"is in this shard, but the index has it in {FIRST!r}. {SAME_EXPORT}"
    assert message_of(folder) == f"{folder / SECOND}, tensor 'a', byte {begin}: {what}"


def test_truncated_shard(sharded: Path) -> None:
    content = (sharded / FIRST).read_bytes()
    (sharded / FIRST).write_bytes(content[:-1])
    size = len(content)
    what = f"the file is truncated: {size - 1} bytes long, but this tensor ends at byte {size}"
    expected = f"{sharded / FIRST}, tensor 'a', byte {size - 1}: {what}. {RECOVER}"
    assert message_of(sharded) == expected
