from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.bench.grid import Point, plan_recipe, plan_trials
from toolkit.errors import RecipeError
from toolkit.recipe import BenchSection, Recipe


def bench(**changes: object) -> BenchSection:
    fields: dict[str, object] = {"output": Path("results"), "isl": (8, 16), "osl": (4,), "concurrency": (1, 32)}
    return BenchSection.model_validate(fields | changes)


def test_every_combination_once() -> None:
    points = plan_trials(bench(repeats=2, requests=8, warmup=2))
    assert sorted(points, key=lambda p: (p.isl, p.concurrency, p.repeat)) == [
        Point(isl=isl, osl=4, concurrency=users, requests=max(8, users), warmup=2 * users, repeat=repeat)
        for isl in (8, 16)
        for users in (1, 32)
        for repeat in (1, 2)
    ]


def test_order_is_shuffled_by_the_seed_alone() -> None:
    orders = {seed: plan_trials(bench(seed=seed, repeats=4)) for seed in range(3)}
    assert plan_trials(bench(seed=1, repeats=4)) == orders[1]
    assert orders[0] != orders[1] != orders[2]
    assert set(orders[0]) == set(orders[1]) == set(orders[2])


def test_point_id_is_that_of_the_conditions() -> None:
    point = Point(isl=8, osl=4, concurrency=2, requests=6, warmup=2, repeat=1)
    text = b'{"concurrency":2,"isl":8,"osl":4,"requests":6,"warmup":2}'
    assert point.point_id == hashlib.sha256(text).hexdigest()[:10]
    assert replace(point, repeat=7).point_id == point.point_id
    for name in ("isl", "osl", "concurrency", "requests", "warmup"):
        assert replace(point, **{name: 99}).point_id != point.point_id


@pytest.mark.parametrize("axis", ["isl", "osl", "concurrency"])
def test_a_value_that_stands_twice(axis: str) -> None:
    with pytest.raises(RecipeError) as caught:
        plan_trials(bench(**{axis: (1, 2, 1)}))
    assert str(caught.value) == f"bench.{axis}: 1 stands twice. Ask for more trials with bench.repeats"


def test_a_point_longer_than_the_engine_holds(recipe: Recipe) -> None:
    assert recipe.engine.max_seq_len == 64
    fits = recipe.model_copy(update={"bench": bench(isl=(8, 60))})
    assert len(plan_recipe(fits)) == 4
    with pytest.raises(RecipeError, match=r"needs 65 tokens .* engine\.max_seq_len is 64.*max_seq_len=65"):
        plan_recipe(recipe.model_copy(update={"bench": bench(isl=(8, 61))}))
