"""What a build asks of a source file: sound scales before they are used, and the Hub's SHA-256 where it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from toolkit.checkpoint.scales import NAN_CODE, check_scales
from toolkit.engine.digests import published_sha256, sha256_of
from toolkit.engine.ranges import Bytes, Range, chunks
from toolkit.engine.reader import Reader
from toolkit.errors import CheckpointError

Tick = Callable[[int], None]


def check_inputs(names: Iterable[str], source: Reader) -> None:
    """Raise ``CheckpointError`` for a scale among the tensors ``names`` that no quantiser writes."""
    for name in names:
        info = source.info(name)
        if info.dtype == "F8_E4M3":
            if any(map(_has_nan, chunks(source.range(name)))):
                check_scales(source.checkpoint, name)
        elif info.dtype == "F32" and name.endswith(("_scale", "_scale_2")):
            source.scalar(name)


def _has_nan(codes: Bytes) -> bool:
    """Of E4M3; no positive one but NaN is that large, which spares all but broken scales the second look."""
    return bool(codes.max() >= NAN_CODE) and bool(((codes & NAN_CODE) == NAN_CODE).any())


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
