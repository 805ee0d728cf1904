"""Any bytes at all: a header is parsed or refused with a ``CheckpointError`` of one line, within bounded memory.

What is accepted, the safetensors library accepts, too, and reads the same from it.
"""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import entry, safetensors_bytes
from toolkit.checkpoint.header import NUMPY_DTYPES, header_end, itemsize, parse_header, read_header
from toolkit.errors import CheckpointError

LONGEST_ERROR = 2000


def parsed_or_refused(content: bytes) -> str:
    """ "" where the file is parsed as the library parses it, else the error."""
    try:
        tensors, metadata = parse_header("f", content, len(content), "f")
    except CheckpointError as error:
        return one_line(str(error))
    assert all(isinstance(value, str) for value in metadata.values())
    expected = {name: (value["dtype"], value["shape"], bytes(value["data"])) for name, value in library(content)}
    ours = {
        name: (tensor.dtype, list(tensor.shape), content[tensor.begin : tensor.end]) for name, tensor in tensors.items()
    }
    assert ours == expected
    return ""


def one_line(message: str) -> str:
    assert len(message) < LONGEST_ERROR
    assert message.isprintable()
    return message


def library(content: bytes) -> list[tuple[str, dict[str, Any]]]:
    return safetensors.deserialize(content)


@st.composite
def headers(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """The header and the data area of a sound file."""
    header: dict[str, Any] = {}
    position = 0
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
    for name in draw(st.lists(st.text(min_size=1, max_size=8), max_size=5, unique=True)):
        dtype = draw(st.sampled_from(sorted(NUMPY_DTYPES)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        size = itemsize(dtype)
        for extent in shape:
            size *= extent
        header[name] = entry(dtype, shape, position, position + size)
        position += size
    return header, bytes(position)


SIZES = st.integers(-1, 8) | st.sampled_from([1 << 31, 1 << 63, (1 << 63) - 1, 1 << 64, 10**40])
JSON = st.recursive(
    st.none() | st.booleans() | SIZES | st.floats() | st.text(max_size=5) | st.sampled_from(sorted(NUMPY_DTYPES)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(headers())
def test_a_sound_header_is_parsed(made: tuple[dict[str, Any], bytes]) -> None:
    header, data = made
    assert parsed_or_refused(safetensors_bytes(header, data)) == ""


@given(st.binary(max_size=300))
def test_random_bytes(content: bytes) -> None:
    parsed_or_refused(content)


@given(st.binary(max_size=300), st.binary(max_size=8))
def test_random_bytes_with_a_true_length(text: bytes, data: bytes) -> None:
    parsed_or_refused(safetensors_bytes(text, data))


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.binary(max_size=8))
def test_random_json(header: dict[str, Any], data: bytes) -> None:
    parsed_or_refused(safetensors_bytes(header, data))


@settings(max_examples=300)
@given(headers(), st.data())
def test_an_entry_with_another_value(made: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    """One field becomes something else: the header lies about a type, an extent, an offset, or is malformed."""
    header, area = made
    names = [name for name in header if name != "__metadata__"]
    if not names:
        return
    changed = header[data.draw(st.sampled_from(names))]
    key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
    value = JSON | st.lists(SIZES, max_size=3) | st.sampled_from(sorted(NUMPY_DTYPES))
    changed[key] = data.draw(value)
    parsed_or_refused(safetensors_bytes(header, area))


@settings(max_examples=300)
@given(headers(), st.data())
def test_flipped_bits(made: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    content = bytearray(safetensors_bytes(*made))
    for position in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=4)):
        content[position // 8] ^= 1 << position % 8
    parsed_or_refused(bytes(content))


@given(headers(), st.data())
def test_truncations_and_additions(made: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    content = safetensors_bytes(*made)
    assert parsed_or_refused(content[: data.draw(st.integers(0, len(content) - 1))]) != ""
    assert parsed_or_refused(content + data.draw(st.binary(min_size=1, max_size=9))) != ""


@given(headers(), st.data())
def test_less_than_the_header_is_never_parsed(made: tuple[dict[str, Any], bytes], data: st.DataObject) -> None:
    """What comes over a network may end early, while the file's size is known."""
    content = safetensors_bytes(*made)
    end = header_end("f", content, len(content))
    head = content[: data.draw(st.integers(0, end - 1))]
    with pytest.raises(CheckpointError):
        parse_header("f", head, len(content), "f")
    whole = parse_header("f", content, len(content), "f")
    assert parse_header("f", content[:end], len(content), "f") == whole


@pytest.mark.parametrize("length", [1 << 30, 25_000_001, (1 << 64) - 1])
def test_a_header_length_that_lies_costs_no_memory(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(2 << 30)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=f"the header length is {length} bytes"):
        read_header(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "header",
    [
        json.dumps({"x" * 1_000_000: 1}).encode(),
        json.dumps({"w": entry("x" * 1_000_000, [], 0, 0)}).encode(),
        json.dumps({"w": {"dtype": [["x" * 100] * 10_000], "shape": [], "data_offsets": [0, 0]}}).encode(),
        json.dumps({"w": entry("U8", [(1 << 63) - 1] * 32, 0, 0)}).encode(),
        b'{"' + b"x" * 1_000_000 + b'":1,"' + b"x" * 1_000_000 + b'":1}',
        b'{"\\u001b[31m\\n": 1}',
    ],
    ids=["name", "dtype", "list", "product", "twice", "escapes"],
)
def test_a_long_lie_is_told_shortly(header: bytes) -> None:
    message = parsed_or_refused(safetensors_bytes(header))
    assert message.startswith("f, ")
