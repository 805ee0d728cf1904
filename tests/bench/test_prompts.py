from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tests.bench.made_up import WORDS
from toolkit.bench.grid import Point
from toolkit.bench.prompts import from_ids, from_text, prompt_source
from toolkit.errors import CheckpointError, RecipeError
from toolkit.recipe import Recipe

POINT = Point(isl=6, osl=3, concurrency=2, requests=5, warmup=2, repeat=1)


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(33 + number) for number in range(60)))
    return path


def test_windows_of_the_text(text: Path) -> None:
    prompts = from_text(text, encode, seed=3).draw(POINT)
    assert (len(prompts.measured), len(prompts.warmup)) == (5, 2)
    assert len(set(prompts.measured + prompts.warmup)) == 7
    for prompt in prompts.measured + prompts.warmup:
        assert prompt == tuple(range(prompt[0], prompt[0] + 6))


def test_every_window_can_be_drawn(text: Path) -> None:
    prompts = from_text(text, encode, seed=0).draw(replace(POINT, isl=58, requests=3, warmup=0))
    assert sorted(prompt[0] for prompt in prompts.measured) == [33, 34, 35]


def test_seed_length_and_repeat_decide(text: Path) -> None:
    source = from_text(text, encode, seed=3)
    drawn = source.draw(POINT)
    assert drawn == from_text(text, encode, seed=3).draw(POINT)
    assert drawn != from_text(text, encode, seed=4).draw(POINT)
    assert drawn != source.draw(replace(POINT, repeat=2))
    assert drawn.sha256 == source.draw(POINT).sha256 != source.draw(replace(POINT, repeat=2)).sha256


def test_points_of_one_length_share_their_prompts(text: Path) -> None:
    source = from_text(text, encode, seed=3)
    few, many = source.draw(POINT), source.draw(replace(POINT, requests=20, osl=9, concurrency=20, warmup=20))
    assert many.measured[:5] == few.measured


def test_a_text_without_enough_prompts(text: Path) -> None:
    source = from_text(text, encode, seed=0)
    with pytest.raises(RecipeError, match=r"text\.txt: there are not 4 different prompts of 58 tokens in it"):
        source.draw(replace(POINT, isl=58, requests=4, warmup=0))
    with pytest.raises(RecipeError, match=r"text\.txt: it has 60 tokens, a prompt needs 61"):
        source.draw(replace(POINT, isl=61))


@pytest.mark.parametrize(("data", "reason"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8 text")])
def test_an_unreadable_text(tmp_path: Path, data: bytes | None, reason: str) -> None:
    path = tmp_path / "absent.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RecipeError, match=rf"absent\.txt: cannot read the prompts: {reason}"):
        from_text(path, encode, seed=0)


def test_random_ids_come_from_the_given_ones() -> None:
    prompts = from_ids((5, 7, 9), seed=1).draw(replace(POINT, isl=40, requests=30))
    assert {len(prompt) for prompt in prompts.measured} == {40}
    assert {token for prompt in prompts.measured for token in prompt} == {5, 7, 9}
    assert len(set(prompts.measured)) == 30


def test_the_recipes_text_through_the_bundles_tokenizer(recipe: Recipe) -> None:
    source = prompt_source(recipe.bench, recipe.engine.output / "checkpoint")
    assert recipe.bench.prompts is not None
    ids = [WORDS.index(word) for word in recipe.bench.prompts.read_text().split()]
    windows = {tuple(ids[start : start + 6]) for start in range(len(ids) - 5)}
    assert set(source.draw(POINT).measured) <= windows


def test_random_ids_leave_out_special_tokens(recipe: Recipe) -> None:
    folder = recipe.engine.output / "checkpoint"
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size() == len(WORDS) + 2
    source = prompt_source(recipe.bench.model_copy(update={"prompts": None}), folder)
    prompts = source.draw(replace(POINT, isl=60, requests=40))
    assert {token for prompt in prompts.measured for token in prompt} == set(range(len(WORDS)))


def test_a_bundle_without_tokenizer(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        prompt_source(recipe.bench, tmp_path)
