"""The committed sample is the one that its provenance describes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| (?P<size>[\d,]+) \| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE)


def test_every_file_has_the_recorded_size_and_hash(root: Path) -> None:
    folder = root / "samples" / "tiny-gpt-oss"
    rows = {
        m["file"]: (int(m["size"].replace(",", "")), m["sha256"])
        for m in ROW.finditer((folder / "PROVENANCE.md").read_text())
    }
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del files["PROVENANCE.md"]
    assert rows == {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}


def test_the_sample_stays_small(root: Path) -> None:
    folder = root / "samples" / "tiny-gpt-oss"
    sizes = {kind: sum(path.stat().st_size for path in (folder / kind).iterdir()) for kind in ("nvfp4", "bf16")}
    assert sizes["nvfp4"] <= 6_000_000
    assert sizes["bf16"] <= 16_000_000
    assert len(list((folder / "nvfp4").glob("*.safetensors"))) >= 2
