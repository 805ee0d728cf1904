"""What reading a hostile header takes, in a process of its own.

``getrusage`` would count what the parent had before ``exec``, too; Linux's ``VmHWM`` does not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import safetensors_bytes
from toolkit.checkpoint.header import MAX_HEADER_BYTES
from toolkit.checkpoint.strict_json import MAX_COMMAS, MAX_NESTS

MOST_KB = 400_000
READ = """
import sys
from pathlib import Path
from toolkit.checkpoint.header import read_header
from toolkit.errors import CheckpointError
try:
    said = f"{len(read_header(Path(sys.argv[1]))[0])} tensors"
except CheckpointError as error:
    said = error.what
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))
print(said)
"""
TOO_MUCH = f"the header is too much to read (over {MAX_NESTS} lists and objects, or {MAX_COMMAS} commas)"
MALFORMED = "the header entry needs exactly dtype, shape and data_offsets"


def filled(piece: str) -> bytes:
    """One list of ``piece`` again and again, as long as a header may be."""
    return ('{"a":[' + ",".join([piece] * ((MAX_HEADER_BYTES - 8) // (len(piece.encode()) + 1))) + "]}").encode()


def tensors(count: int) -> bytes:
    entries = (f'"{number:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for number in range(count))
    return ("{" + ",".join(entries) + "}").encode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (lambda: filled("[]"), TOO_MUCH),
        (lambda: filled("{}"), TOO_MUCH),
        (lambda: filled("0"), TOO_MUCH),
        (lambda: filled('"\u0101b"'), TOO_MUCH),
        (lambda: b'{"a":[' + b",".join([b'{"b":0}'] * (MAX_NESTS - 2)) + b"]}", MALFORMED),
        (lambda: ('{"a":["\U0001f600",' + ",".join(['"\u0101b"'] * (MAX_COMMAS - 1)) + "]}").encode(), MALFORMED),
        (lambda: tensors(250_000), "250000 tensors"),
        (lambda: tensors(300_000), TOO_MUCH),
    ],
    ids=["lists", "objects", "numbers", "texts", "most-objects", "most-texts", "most-tensors", "too-many-tensors"],
)
def test_a_hostile_header_takes_bounded_memory(
    tmp_path: Path, root: Path, header: Callable[[], bytes], expected: str
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes(header()))
    command = [sys.executable, "-c", READ, str(path)]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=100)
    resident, said = result.stdout.splitlines()
    assert said == expected
    assert int(resident) < MOST_KB
