from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.bench.made_up import WORDS
from toolkit.bench.workload import content_of, from_ids, from_text
from toolkit.engine.text import Tokenizer
from toolkit.errors import RecipeError
from toolkit.recipe import Recipe


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(33 + number) for number in range(60)))
    return path


def test_every_window_of_the_text_and_nothing_else_is_cut(text: Path) -> None:
    content, rng = from_text(text, encode), random.Random(3)
    windows = {content.cut(rng, 58) for _ in range(50)}
    assert windows == {tuple(range(first, first + 58)) for first in (33, 34, 35)}
    assert content.cut(rng, 60) == tuple(range(33, 93))
    assert content.where == str(text)


def test_a_prompt_longer_than_the_text(text: Path) -> None:
    with pytest.raises(RecipeError, match=r"text\.txt: it has 60 tokens, a prompt needs 61"):
        from_text(text, encode).cut(random.Random(0), 61)


@pytest.mark.parametrize(("data", "reason"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8 text")])
def test_an_unreadable_text(tmp_path: Path, data: bytes | None, reason: str) -> None:
    path = tmp_path / "absent.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RecipeError, match=rf"absent\.txt: cannot read the prompts: {reason}"):
        from_text(path, encode)


def test_random_ids_are_uniform_draws_of_the_given_ones() -> None:
    """30,000 draws of three ids: 10,000 each, give or take five standard deviations (82 each)."""
    prompt = from_ids((5, 7, 9)).cut(random.Random("x"), 30_000)
    counts = Counter(prompt)
    assert set(counts) == {5, 7, 9}
    assert all(abs(count - 10_000) < 410 for count in counts.values())
    bits = random.Random("x")
    assert prompt[:8] == tuple((5, 7, 9)[bits.getrandbits(32) * 3 >> 32] for _ in range(8))


def test_through_the_bundles_tokenizer(recipe: Recipe) -> None:
    tokenizer, rng = Tokenizer.open(recipe.engine.output / "checkpoint"), random.Random(0)
    assert recipe.bench.prompts is not None
    ids = [WORDS.index(word) for word in recipe.bench.prompts.read_text().split()]
    windows = {tuple(ids[start : start + 6]) for start in range(len(ids) - 5)}
    assert content_of(tokenizer, recipe.bench.prompts).cut(rng, 6) in windows
    # the tokenizer has two special tokens more
    assert set(content_of(tokenizer, None).cut(rng, 3000)) == set(range(len(WORDS)))
