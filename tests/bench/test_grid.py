from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.bench.grid import Point, plan_points, plan_recipe, shuffled
from toolkit.errors import RecipeError
from toolkit.recipe import BenchSection, Recipe


def bench(**changes: object) -> BenchSection:
    fields: dict[str, object] = {"output": Path("results"), "isl": (8, 16), "osl": (4,), "concurrency": (1, 32)}
    return BenchSection.model_validate(fields | changes)


def test_every_combination_once() -> None:
    assert plan_points(bench(requests=8, warmup=2), ("a", "b")) == tuple(
        Point(isl, 4, users, max(8, users), 2 * users, repeat=1, variant=variant)
        for variant in ("a", "b")
        for isl in (8, 16)
        for users in (1, 32)
    )


def test_order_is_shuffled_by_the_seed_alone() -> None:
    points = plan_points(bench(concurrency=(1, 2, 4, 8)))
    orders = {seed: shuffled(points, seed) for seed in range(3)}
    assert shuffled(points, 1) == orders[1]
    assert orders[0] != orders[1] != orders[2]
    assert set(orders[0]) == set(orders[1]) == set(orders[2])


def test_point_id_is_that_of_the_conditions() -> None:
    point = Point(isl=8, osl=4, concurrency=2, requests=6, warmup=2, repeat=1)
    text = b'{"concurrency":2,"isl":8,"osl":4,"requests":6,"warmup":2}'
    assert point.point_id == hashlib.sha256(text).hexdigest()[:10]
    assert replace(point, repeat=7).point_id == point.point_id
    assert replace(point, variant="w4a4").point_id != point.point_id
    for name in ("isl", "osl", "concurrency", "requests", "warmup"):
        assert replace(point, **{name: 99}).point_id != point.point_id


@pytest.mark.parametrize("axis", ["isl", "osl", "concurrency"])
def test_a_value_that_stands_twice(axis: str) -> None:
    with pytest.raises(RecipeError) as caught:
        plan_points(bench(**{axis: (1, 2, 1)}))
    assert str(caught.value) == f"bench.{axis}: 1 stands twice. Ask for more trials with bench.repeats"


def test_a_point_longer_than_the_engine_holds(recipe: Recipe) -> None:
    assert recipe.engine.max_seq_len == 64
    fits = recipe.model_copy(update={"bench": bench(isl=(8, 60))})
    assert len(plan_recipe(fits)[1]) == 4
    with pytest.raises(RecipeError, match=r"needs 65 tokens .* engine\.max_seq_len is 64.*max_seq_len=65"):
        plan_recipe(recipe.model_copy(update={"bench": bench(isl=(8, 61))}))
