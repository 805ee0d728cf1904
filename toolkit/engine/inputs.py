"""What a build asks of a source file: sound scales before they are used, and the Hub's SHA-256 where it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from toolkit.checkpoint.scales import NAN_CODE, check_scales
from toolkit.engine.digests import published_sha256, sha256_of
from toolkit.engine.ranges import Range
from toolkit.engine.reader import Reader
from toolkit.errors import CheckpointError

Tick = Callable[[int], None]


def check_inputs(names: Iterable[str], source: Reader) -> None:
    """Raise ``CheckpointError`` for a scale among the tensors ``names`` that no quantiser writes."""
    for name in names:
        info = source.info(name)
        if info.dtype == "F8_E4M3":
            parts = (source.array(name, part) for part in source.parts(name)) if info.shape else ()
            if any(bool(((part & NAN_CODE) == NAN_CODE).any()) for part in parts):
                check_scales(source.checkpoint, name)
        elif info.dtype == "F32" and name.endswith(("_scale", "_scale_2")):
            source.scalar(name)


def hashed(file: Range, tick: Tick) -> str:
    """SHA-256 of a source file; raises what ``check_published`` raises."""
    digest = sha256_of(file, tick)
    check_published(file, digest)
    return digest


def check_published(file: Range, sha256: str) -> None:
    """Raise ``CheckpointError`` for a download that does not have the SHA-256 that the Hub names for it."""
    published = published_sha256(file.path)
    if published is not None and published != sha256:
        what = f"wrong hash: SHA-256 {sha256}, but the Hub has {published}"
        hint = f"Delete {file.path.resolve()} and type: trtkit engine RECIPE --fetch"
        raise CheckpointError(what, where=str(file.path), hint=hint)
