"""Shards against the safetensors library, both ways, and against the bytes of real files."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import example_tensors, write_safetensors
from toolkit.checkpoint.safetensors import Shard, ShardWriter, read_header
from toolkit.errors import CheckpointError

DTYPES = {"U8": np.uint8, "I64": np.int64, "F16": np.float16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_arrays_are_read_only_views_of_the_right_type(path: Path) -> None:
    tensors = example_tensors()
    write_safetensors(path, tensors)
    with Shard.open(path) as shard:
        for name, (_, expected) in tensors.items():
            array = shard.array(name)
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(array, expected)
            assert not array.flags.writeable
            assert bytes(shard.raw(name)) == expected.tobytes()
            assert shard.raw(name).readonly


def test_a_view_outlives_its_shard(path: Path) -> None:
    write_safetensors(path, example_tensors())
    with Shard.open(path) as shard:
        array = shard.array("ids")
    del shard
    gc.collect()
    assert array.tolist() == [-1, 2**40]


def test_unknown_tensor_and_closed_shard(path: Path) -> None:
    write_safetensors(path, example_tensors())
    with Shard.open(path) as shard, pytest.raises(CheckpointError) as caught:
        shard.array("nothing")
    assert str(caught.value) == f"{path}: no tensor 'nothing'"
    with pytest.raises(CheckpointError) as caught:
        shard.array("ids")
    assert str(caught.value) == f"{path}: was closed"


def test_reads_what_the_library_writes(path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 2, (3, 5)).astype(dtype) for name, dtype in DTYPES.items()}
    arrays["BF16"] = rng.standard_normal((4, 3)).astype(ml_dtypes.bfloat16)
    arrays["ünï"] = np.arange(3, dtype=np.int32)
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
    with Shard.open(path) as shard:
        assert shard.metadata == {"format": "pt"}
        assert set(shard.tensors) == set(arrays)
        for name, expected in arrays.items():
            assert bytes(shard.raw(name)) == expected.tobytes()
            if name in DTYPES:
                np.testing.assert_array_equal(shard.array(name), expected)
    assert shard.tensors["BF16"].dtype == "BF16"


def test_the_library_reads_what_we_write(path: Path) -> None:
    arrays = {"b": np.arange(6, dtype="<f4").reshape(2, 3), "a": np.array(7, "<i8"), "e": np.empty((0, 2), np.uint8)}
    declared = [("b", "F32", (2, 3)), ("a", "I64", ()), ("e", "U8", (0, 2))]
    with ShardWriter(path, declared, {"format": "np", "note": "ä"}) as writer:
        for name, array in arrays.items():
            writer.write(name, [array])
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata() == {"format": "np", "note": "ä"}
        assert set(file.keys()) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
    assert writer.tensors == read_header(path)[0]


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 3), max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_writes_the_same_file_as_the_library(tmp_path_factory: pytest.TempPathFactory, specs: dict) -> None:
    """Given the library's own order of tensors, every byte is the same."""
    folder = tmp_path_factory.mktemp("same")
    arrays = {name: np.ones(shape, DTYPES[dtype]) for name, (dtype, shape) in specs.items()}
    safetensors.numpy.save_file(arrays, folder / "theirs")
    with Shard.open(folder / "theirs") as shard:
        infos = list(shard.tensors.values())
        order = sorted(infos, key=lambda info: header_position(folder / "theirs", info.name))
        with ShardWriter(folder / "ours", [(t.name, t.dtype, t.shape) for t in order]) as writer:
            for info in order:
                writer.write(info.name, [shard.raw(info.name)])
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()


def header_position(path: Path, name: str) -> int:
    """Where the library put ``name`` in its header: empty tensors share an offset, so bytes alone do not order them."""
    content = path.read_bytes()
    return list(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])).index(name)


def test_modelopt_shards_come_out_byte_for_byte(shared_fixtures: Path, tmp_path: Path) -> None:
    files = sorted(shared_fixtures.glob("tiny-*/*.safetensors"))
    assert len(files) == 9
    for file in files:
        with Shard.open(file) as shard:
            declared = [(t.name, t.dtype, t.shape) for t in shard.tensors.values()]
            with ShardWriter(tmp_path / "copy", declared, shard.metadata) as writer:
                for name in shard.tensors:
                    writer.write(name, [shard.raw(name)])
        assert (tmp_path / "copy").read_bytes() == file.read_bytes()


def test_writing_in_chunks_equals_writing_at_once(path: Path) -> None:
    data = np.arange(12, dtype="<u2").reshape(3, 4)
    with ShardWriter(path, [("w", "BF16", (3, 4))]) as writer:
        writer.write("w", (row for row in data))
    with Shard.open(path) as shard:
        np.testing.assert_array_equal(shard.array("w"), data)


@pytest.mark.parametrize(("chunks", "count"), [([b"abc"], 3), ([b"ab", b"cde"], 5), ([], 0)])
def test_wrong_number_of_bytes(path: Path, chunks: list[bytes], count: int) -> None:
    with pytest.raises(CheckpointError) as caught, ShardWriter(path, [("w", "U8", (2, 2))]) as writer:
        writer.write("w", chunks)
    begin = writer.tensors["w"].begin
    assert str(caught.value) == f"{path}, tensor 'w', byte {begin}: got {count} bytes, but U8 [2, 2] needs 4"


@pytest.mark.parametrize(("name", "expected"), [("b", "'a'"), ("c", "'a'")])
def test_writing_out_of_order(path: Path, name: str, expected: str) -> None:
    with pytest.raises(CheckpointError) as caught, ShardWriter(path, [("a", "U8", [1]), ("b", "U8", [1])]) as writer:
        writer.write(name, [b"x"])
    assert str(caught.value) == f"{path}: tensor {name!r} is written out of order, expected {expected}"


def test_writing_more_than_declared(path: Path) -> None:
    with ShardWriter(path, [("a", "U8", [1])]) as writer:
        writer.write("a", [b"x"])
        with pytest.raises(CheckpointError) as caught:
            writer.write("a", [b"x"])
    assert str(caught.value) == f"{path}: tensor 'a' is written out of order, expected nothing more"


def test_closing_before_everything_is_written(path: Path) -> None:
    writer = ShardWriter(path, [("a", "U8", [1]), ("b", "U8", [1])])
    writer.write("a", [b"x"])
    with pytest.raises(CheckpointError) as caught:
        writer.close()
    begin = writer.tensors["b"].begin
    assert str(caught.value) == f"{path}, tensor 'b', byte {begin}: was declared but never written"
    writer.close()


def test_an_error_inside_the_writer_is_not_replaced(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ShardWriter(path, [("a", "U8", [1])]):
        _ = 1 / 0
    with pytest.raises(CheckpointError):
        read_header(path)


def resident(path: Path) -> int:
    """KiB of ``path`` that are mapped into this process and in memory."""
    mapped, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            mapped = line.endswith(str(path))
        elif mapped and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_released_tensors_leave_memory_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    data = np.arange(1 << 20, dtype=np.uint8)
    with ShardWriter(path, [("a", "U8", data.shape), ("b", "U8", data.shape)]) as writer:
        for name in ("a", "b"):
            writer.write(name, [data])
    with Shard.open(path) as shard:
        views = [shard.array("a"), shard.array("b")]
        assert all(np.array_equal(view, data) for view in views)
        assert resident(path) >= 2048
        for name in ("a", "b"):
            shard.release(name)
        assert resident(path) < 128
        assert all(np.array_equal(view, data) for view in views)
