"""Bad files: one clear error each, naming file, tensor and byte. Good ones: what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import entry, safetensors_bytes, write_safetensors
from toolkit.checkpoint.header import MAX_HEADER_BYTES, NUMPY_DTYPES, TensorInfo, layout, read_header
from toolkit.errors import CheckpointError

HINT = "Copy or download this file again"


def message_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    return str(caught.value)


def header_error(path: Path, header: Mapping[str, Any] | bytes, data: bytes = b"") -> tuple[str, int]:
    """The message without the path, and the byte at which the data area begins."""
    content = safetensors_bytes(header, data)
    path.write_bytes(content)
    message = message_of(path)
    assert message.startswith(f"{path}, ")
    return message.removeprefix(f"{path}, "), len(content) - len(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_header_of_a_valid_file(path: Path) -> None:
    write_safetensors(
        path,
        {"b": ("BF16", np.zeros((2, 3), "<u2")), "a": ("F32", np.zeros((), "<f4"))},
        {"format": "pt"},
    )
    start = path.stat().st_size - 16
    tensors, metadata = read_header(path)
    assert metadata == {"format": "pt"}
    assert list(tensors.values()) == [
        TensorInfo("b", "BF16", (2, 3), "model.safetensors", start, start + 12),
        TensorInfo("a", "F32", (), "model.safetensors", start + 12, start + 16),
    ]
    assert [(t.nbytes, t.elements) for t in tensors.values()] == [(12, 6), (4, 1)]


def test_tensors_come_in_the_order_of_their_bytes(path: Path) -> None:
    path.write_bytes(safetensors_bytes({"late": entry("U8", [1], 2, 3), "early": entry("U8", [2], 0, 2)}, b"abc"))
    assert list(read_header(path)[0]) == ["early", "late"]


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00"])
def test_shorter_than_the_length_prefix(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    size = len(content)
    what = f"not a safetensors file: {size} bytes long, shorter than the 8-byte header length"
    assert message_of(path) == f"{path}, byte 0: {what}. {HINT}"


def test_header_longer_than_the_file(path: Path) -> None:
    path.write_bytes((1000).to_bytes(8, "little") + b"{}")
    assert message_of(path) == f"{path}, byte 0: the header length is 1000 bytes, but only 2 bytes follow. {HINT}"


def test_header_longer_than_any_is_read(path: Path) -> None:
    length = MAX_HEADER_BYTES + 1
    with path.open("wb") as file:  # sparse
        file.write(length.to_bytes(8, "little"))
        file.truncate(length + 8)
    what = "the header length is 25000001 bytes, over the 25000000 that are read"
    assert message_of(path) == f"{path}, byte 0: {what}. {HINT}"


def test_a_name_longer_than_any(path: Path) -> None:
    """Inspection looks at every prefix of a name: 10^6 dots would be 10^12 bytes."""
    longest = "x" * 500
    path.write_bytes(safetensors_bytes({longest: entry("U8", [1], 0, 1)}, b"a"))
    assert list(read_header(path)[0]) == [longest]
    dots = {"." * 1_000_000: entry("U8", [1], 0, 1)}
    message, _ = header_error(path, dots, b"a")
    name = f"'{'.' * 97}...{'.' * 98}'"
    assert message == f"tensor {name}, byte 8: the name has 1000000 characters, more than 500. {HINT}"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b'{"a": }', "byte 14: the header is not JSON (Expecting value)"),
        (b"\x00\x00", "byte 8: the header is not JSON (Expecting value)"),
        (b'{"\xff": 1}', "byte 10: the header is not JSON (not UTF-8)"),
        (b"[" * 100_000, "byte 8: the header is not JSON (nested too deep)"),
        (b'{"a": ' + b"1" * 5000 + b"}", "byte 8: the header is not JSON (a number is too long)"),
        ('{"ä": }'.encode(), "byte 15: the header is not JSON (Expecting value)"),
        (
            '{"a": 1}'.encode("utf-16-le"),
            "byte 9: the header is not JSON (Expecting property name enclosed in double quotes)",
        ),
        (b'{"a": {"shape": [NaN]}}', "byte 8: the header is not JSON (NaN is no number there)"),
        (b'{"\\udc00": {}}', "byte 8: the header is not JSON (half of a surrogate pair)"),
        (b"[]", "byte 8: the header is not a JSON object"),
        (b'{"a": 1, "a": 2}', "byte 8: the header is not JSON (it holds 'a' twice)"),
        (b'{"__metadata__": {"format": 1}}', "byte 8: __metadata__ is not a map of strings"),
    ],
    ids=[
        "syntax",
        "zeros",
        "utf8",
        "deep",
        "digits",
        "after-two-bytes",
        "utf16",
        "nan",
        "surrogate",
        "list",
        "duplicate",
        "metadata",
    ],
)
def test_header_that_is_not_one(path: Path, header: bytes, expected: str) -> None:
    assert header_error(path, header)[0] == f"{expected}. {HINT}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "the header entry needs exactly dtype, shape and data_offsets"),
        ({"dtype": "U8", "shape": [1]}, "the header entry needs exactly dtype, shape and data_offsets"),
        (entry("U8", [-1], 0, 1), "the shape [-1] is not a list of sizes"),
        (entry("U8", [1 << 63], 0, 1), "the shape [9223372036854775808] is not a list of sizes"),
        (
            entry("U8", [10**4000], 0, 1),
            f"the shape [1{'0' * 17}...{'0' * 19}] is not a list of sizes",
        ),
        (entry("U8", [1] * 33, 0, 1), "the shape [1, 1, 1, 1, 1, 1, ...] is not a list of sizes"),
        (entry("U8", [1], 0, 1 << 63), "data_offsets [0, 9223372036854775808] is not a pair of byte offsets"),
        ({"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}, "the shape [True] is not a list of sizes"),
        ({"dtype": "U8", "shape": 1, "data_offsets": [0, 1]}, "the shape 1 is not a list of sizes"),
        ({"dtype": "U8", "shape": [1], "data_offsets": [0]}, "data_offsets [0] is not a pair of byte offsets"),
        (entry("U8", [1], -1, 0), "data_offsets [-1, 0] is not a pair of byte offsets"),
        (
            {"dtype": "U8", "shape": [1], "data_offsets": [0, 1.0]},
            "data_offsets [0, 1.0] is not a pair of byte offsets",
        ),
    ],
)
def test_malformed_entry(path: Path, value: Any, expected: str) -> None:
    assert header_error(path, {"w": value}, b"x")[0] == f"tensor 'w', byte 8: {expected}. {HINT}"


@pytest.mark.parametrize("dtype", ["F4", "bf16", 7])
def test_unknown_dtype(path: Path, dtype: Any) -> None:
    known = ", ".join(NUMPY_DTYPES)
    assert (
        header_error(path, {"w": entry(dtype, [1], 0, 1)}, b"x")[0]
        == f"tensor 'w', byte 8: unknown dtype {dtype!r}. Known: {known}"
    )


def test_end_before_begin(path: Path) -> None:
    message, start = header_error(path, {"w": entry("U8", [1], 4, 3)}, b"abcd")
    assert message == f"tensor 'w', byte {start + 4}: ends at byte {start + 3}, before it begins. {HINT}"


def test_size_that_contradicts_dtype_and_shape(path: Path) -> None:
    message, start = header_error(path, {"a": entry("U8", [2], 0, 2), "w": entry("BF16", [2, 3], 2, 13)}, bytes(13))
    assert message == f"tensor 'w', byte {start + 2}: BF16 [2, 3] needs 12 bytes, but 11 are declared. {HINT}"


def test_overlap(path: Path) -> None:
    message, start = header_error(path, {"a": entry("U8", [4], 0, 4), "w": entry("U8", [2], 3, 5)}, bytes(5))
    assert message == f"tensor 'w', byte {start + 3}: overlaps tensor 'a', which ends at byte {start + 4}. {HINT}"


@pytest.mark.parametrize(
    ("header", "tensor", "offset", "before"),
    [
        ({"w": entry("U8", [2], 3, 5)}, "w", 0, "the header"),
        ({"a": entry("U8", [2], 0, 2), "w": entry("U8", [1], 5, 6)}, "w", 2, "tensor 'a'"),
    ],
)
def test_hole(path: Path, header: dict[str, Any], tensor: str, offset: int, before: str) -> None:
    message, start = header_error(path, header, bytes(6))
    expected = f"tensor {tensor!r}, byte {start + offset}: 3 bytes belong to no tensor, after {before}. {HINT}"
    assert message == expected


def test_truncated_data(path: Path) -> None:
    message, start = header_error(path, {"a": entry("U8", [4], 0, 4), "w": entry("F32", [2], 4, 12)}, bytes(9))
    what = f"the file is truncated: {start + 9} bytes long, but this tensor ends at byte {start + 12}"
    assert message == f"tensor 'w', byte {start + 4}: {what}. {HINT}"


def test_bytes_after_the_last_tensor(path: Path) -> None:
    message, start = header_error(path, {"w": entry("U8", [4], 0, 4)}, bytes(6))
    assert message == f"byte {start + 4}: 2 bytes follow tensor 'w', which should end the file. {HINT}"


def test_every_truncation_of_a_file_is_refused(path: Path) -> None:
    whole = write_safetensors(path, {"w": ("U8", np.arange(5, dtype=np.uint8)), "v": ("F32", np.ones(2, "<f4"))})
    content = whole.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert message_of(path).startswith(f"{path}, ")


def test_absent_and_unreadable_files(tmp_path: Path) -> None:
    complete = "Complete the download, or name a complete folder"
    assert message_of(tmp_path / "no") == f"{tmp_path / 'no'}: cannot be read (No such file or directory). {complete}"
    assert message_of(tmp_path) == f"{tmp_path}: is a folder, not a file. Put the file itself in its place"


def test_layout_refuses_a_name_twice() -> None:
    with pytest.raises(CheckpointError) as caught:
        layout("x.safetensors", [("w", "U8", [1]), ("w", "U8", [1])], {})
    assert str(caught.value) == "x.safetensors: tensor 'w' is declared twice or has a reserved name"
