"""Harmony's vocabulary file ``o200k_base.tiktoken``: where it is, and how a gpt-oss tokenizer.json gives it back.

openai-harmony reads it from the folder ``TIKTOKEN_ENCODINGS_BASE`` and checks its SHA-256, or downloads it. gpt-oss's
tokenizer.json holds the same byte-level BPE (``o200k_harmony`` is ``o200k_base`` with other special tokens), so a
checkpoint brings it along: one line a token, the token's bytes in base64, a space and its rank.

Source: openai/harmony v0.0.8, src/tiktoken_ext/public_encodings.rs (file, URL, SHA-256, special tokens, cache).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from toolkit.checkpoint.files import sha256_file, write_atomic
from toolkit.checkpoint.regular import open_regular, reading
from toolkit.errors import ChatError, CheckpointError


@dataclass(frozen=True, slots=True)
class File:
    name: str
    url: str
    sha256: str


O200K = File(
    "o200k_base.tiktoken",
    "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
)
BASE_VARIABLE = "TIKTOKEN_ENCODINGS_BASE"
DOWNLOADS_VARIABLE = "TIKTOKEN_RS_CACHE_DIR"
GET = f"Type: curl -fLO {O200K.url}, put it into a folder and set {BASE_VARIABLE} to it"
MARKERS = {"<|channel|>": 200005, "<|message|>": 200008}
MAX_BYTES = 64 << 20  # far more than the vocabulary has, and twice what gpt-oss's tokenizer.json has

Kind = Literal["base", "cache", "download"]


@dataclass(frozen=True, slots=True)
class Place:
    """A whole vocabulary file, and what put it there: the user, trtkit or openai-harmony."""

    path: Path
    kind: Kind


def find(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The first whole file of: the folder that the environment names, trtkit's cache, openai-harmony's download."""
    base = environment.get(BASE_VARIABLE)
    places = [Place(Path(base) / O200K.name, "base")] if base else []
    places += [Place(cache_folder(environment) / O200K.name, "cache"), Place(download(environment), "download")]
    return next((place for place in places if is_whole(place.path)), None)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """trtkit's own, below ``XDG_CACHE_HOME``."""
    above = environment.get("XDG_CACHE_HOME")
    return (Path(above) if above else Path("~/.cache").expanduser()) / "trtkit" / "harmony"


def is_whole(path: Path) -> bool:
    """Whether the file is there and has the vocabulary's SHA-256."""
    try:
        with reading(path), open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            return size <= MAX_BYTES and sha256_file(path) == O200K.sha256
    except CheckpointError:
        return False


def is_harmony(tokenizer: Mapping[str, Any]) -> bool:
    """Whether a parsed tokenizer.json has Harmony's markers at the ids of gpt-oss."""
    added = tokenizer.get("added_tokens")
    ids = {token.get("content"): token.get("id") for token in added or () if isinstance(token, dict)}
    return MARKERS.items() <= ids.items()


def rebuild(tokenizer: Mapping[str, Any], where: str) -> bytes:
    """The vocabulary file from a parsed tokenizer.json; ``ChatError`` if it is not that of ``o200k_base``."""
    try:
        added = {token["content"] for token in tokenizer["added_tokens"]}
        ranks = sorted((rank, text) for text, rank in tokenizer["model"]["vocab"].items() if text not in added)
        data = b"".join(b"%s %d\n" % (base64.b64encode(_bytes_of(text)), rank) for rank, text in ranks)
    except (KeyError, TypeError, AttributeError):
        raise ChatError("has no byte-level vocabulary", where=where, hint=GET) from None
    if hashlib.sha256(data).hexdigest() != O200K.sha256:
        what = f"has Harmony's markers, but its vocabulary is not {O200K.name} (another SHA-256)"
        raise ChatError(what, where=where, hint="Use the tokenizer.json that came with the gpt-oss checkpoint")
    return data


@contextmanager
def provided(tokenizer: Mapping[str, Any], where: str, environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """A folder with the vocabulary under its name; from the parsed tokenizer.json it goes to trtkit's cache.

    Where the cache takes no file, as in a read-only container, the folder lasts as long as the context.
    """
    found = find(environment)
    if found is not None and found.kind != "download":
        yield found.path.parent
        return
    data = found.path.read_bytes() if found is not None else rebuild(tokenizer, where)
    with ExitStack() as stack:
        folder = cache_folder(environment)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / O200K.name, data)
        except OSError:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trtkit-harmony-")))
            (folder / O200K.name).write_bytes(data)
        yield folder


def read_tokenizer(path: Path) -> dict[str, Any]:
    """The parsed tokenizer.json; raises ``CheckpointError``."""
    with reading(path), open_regular(path) as file:
        data = file.read(MAX_BYTES + 1)
    try:
        value = json.loads(data) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"not a tokenizer: {error}", where=str(path)) from None
    if not isinstance(value, dict):
        raise CheckpointError("not a tokenizer: no JSON object of a tokenizer's size", where=str(path))
    return value


def download(environment: Mapping[str, str] = os.environ, file: File = O200K) -> Path:
    """Where openai-harmony keeps what it downloads: named by the SHA-1 of the URL."""
    try:
        above = environment.get(DOWNLOADS_VARIABLE) or Path(tempfile.gettempdir()) / "tiktoken-rs-cache"
    except OSError:  # none takes a file, as in a read-only container; a file that was put there may be read
        above = Path(environment.get("TMPDIR") or "/tmp") / "tiktoken-rs-cache"
    return Path(above) / hashlib.sha1(file.url.encode()).hexdigest()


def _byte_alphabet() -> dict[str, int]:
    """The characters that byte-level BPE writes for bytes: printable ones stand for themselves (GPT-2, encoder.py)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_ALPHABET = _byte_alphabet()


def _bytes_of(text: str) -> bytes:
    return bytes(_ALPHABET[character] for character in text)
