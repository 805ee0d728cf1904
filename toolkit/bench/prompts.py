"""Prompts of exactly ISL tokens: cut from a text, or random token ids."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.bench.canonical import digest
from toolkit.bench.grid import Point
from toolkit.engine.text import Tokenizer
from toolkit.errors import RecipeError
from toolkit.recipe import BenchSection

Prompt = tuple[int, ...]
Cut = Callable[[random.Random, int], Prompt]

TRIES_PER_PROMPT = 100


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of one trial, all different, as token ids."""

    measured: tuple[Prompt, ...]
    warmup: tuple[Prompt, ...]

    @property
    def sha256(self) -> str:
        """Identifies the measured prompts, order included."""
        return digest(self.measured, 64)


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Draws prompts; the same seed, point and repeat give the same ones on every machine.

    Points that differ only in OSL or concurrency start with the same measured prompts, so that a curve over
    concurrency does not also vary its prompts.
    """

    seed: int
    cut: Cut
    where: str

    def draw(self, point: Point) -> Prompts:
        """Raises ``RecipeError`` when the source cannot give that many different prompts of that length."""
        # a text seed is hashed with SHA-512 by `random`, so it does not depend on PYTHONHASHSEED
        rng = random.Random(f"{self.seed}:{point.isl}:{point.repeat}")
        wanted = point.requests + point.warmup
        drawn: dict[Prompt, None] = {}
        for _ in range(TRIES_PER_PROMPT * wanted):
            if len(drawn) == wanted:
                break
            drawn[self.cut(rng, point.isl)] = None
        if len(drawn) < wanted:
            raise RecipeError(
                f"there are not {wanted} different prompts of {point.isl} tokens in it",
                where=self.where,
                hint="Give a longer text, or a smaller bench.requests",
            )
        prompts = tuple(drawn)
        return Prompts(prompts[: point.requests], prompts[point.requests :])


def from_text(path: Path, encode: Callable[[str], Sequence[int]], seed: int) -> PromptSource:
    """Prompts are windows of the tokens of the text at ``path``, the recipe's ``bench.prompts``."""
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

    return PromptSource(seed, cut, str(path))


def from_ids(ids: Sequence[int], seed: int) -> PromptSource:
    """Prompts are independent uniform draws from ``ids``, the vocabulary without its special tokens."""

    def cut(rng: random.Random, length: int) -> Prompt:
        return tuple(rng.choices(ids, k=length))

    return PromptSource(seed, cut, "the vocabulary")


def prompt_source(bench: BenchSection, tokenizer_dir: Path) -> PromptSource:
    """Windows of ``bench.prompts`` where the recipe names a text, else random ids of the tokenizer's vocabulary.

    Raises ``CheckpointError`` when ``tokenizer_dir`` has no readable ``tokenizer.json``.
    """
    tokenizer = Tokenizer.open(tokenizer_dir)
    if bench.prompts is None:
        return from_ids(tokenizer.plain_ids, bench.seed)
    return from_text(bench.prompts, tokenizer.encode, bench.seed)
