"""Where the tokens of prompts come from: windows of a text, or random ids of a vocabulary."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.engine.text import Tokenizer
from toolkit.errors import RecipeError

Prompt = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """``cut(rng, length)`` gives a prompt of exactly that many tokens; ``where`` names the source in errors."""

    cut: Callable[[random.Random, int], Prompt]
    where: str


def from_text(path: Path, encode: Callable[[str], Sequence[int]]) -> Content:
    """Windows of the tokens of the text at ``path``, the recipe's ``bench.prompts``.

    Raises ``RecipeError`` for a file that is not text; so does a cut longer than the text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise RecipeError(f"cannot read the prompts: {reason}", where=str(path), hint="Check bench.prompts") from None
    ids = tuple(encode(text))

    def cut(rng: random.Random, length: int) -> Prompt:
        if len(ids) < length:
            raise RecipeError(f"it has {len(ids)} tokens, a prompt needs {length}", where=str(path))
        start = rng.randrange(len(ids) - length + 1)
        return ids[start : start + length]

    return Content(cut, str(path))


def from_ids(ids: Sequence[int]) -> Content:
    """Independent uniform draws from ``ids``, the vocabulary without its special tokens."""
    vocabulary = tuple(ids)
    return Content(lambda rng, length: draw_ids(rng, vocabulary, length), "the vocabulary")


def content_of(tokenizer: Tokenizer, text: Path | None) -> Content:
    """Windows of ``text``, or random ids of the tokenizer's vocabulary without one."""
    return from_ids(tokenizer.plain_ids) if text is None else from_text(text, tokenizer.encode)


def draw_ids(rng: random.Random, ids: Sequence[int], count: int) -> Prompt:
    """Uniform with replacement: 32 random bits scaled to the number of ids, whose bias is below ids / 2³²."""
    bits = np.frombuffer(rng.randbytes(4 * count), "<u4").astype(np.uint64)
    places: list[int] = ((bits * np.uint64(len(ids))) >> np.uint64(32)).tolist()
    return tuple([ids[place] for place in places])
