from __future__ import annotations

import json
import shutil
from itertools import groupby
from pathlib import Path

import pytest

from tests.bench.made_up import made_up_environment
from toolkit.bench.environment import Environment
from toolkit.bench.plan_record import OWN_SERVER
from toolkit.bench.sweep import Outline, Sweep, outline, plan_sweep
from toolkit.engine.bundle import Bundle
from toolkit.errors import RecipeError
from toolkit.recipe import Recipe, SloSection, VariantSection

ENVIRONMENT = made_up_environment("CPU")


def plan(recipe: Recipe, *, environment: Environment = ENVIRONMENT, url: str | None = None) -> Sweep:
    return plan_sweep(recipe, {"default": Bundle.open(recipe.engine.output)}, environment, url)


def changed(recipe: Recipe, section: str, **changes: object) -> Recipe:
    inner = getattr(recipe, section).model_copy(update=changes)
    return recipe.model_copy(update={section: inner})


def test_the_plan(recipe: Recipe) -> None:
    sweep = plan(recipe)
    assert sweep.folder == recipe.bench.output / f"small-{sweep.record.sweep_id}"
    assert sweep.plan.points == outline(recipe).points
    assert (sweep.plan.strategy, sweep.plan.repeats, sweep.plan.slo, sweep.plan.runner) == ("grid", 1, {}, "triton")
    assert sweep.record.hardware == "CPU"
    assert sweep.record.plan.server == OWN_SERVER
    (variant,) = sweep.plan.variants
    assert (variant.name, variant.gpus, list(variant.bundle)) == ("default", 1, ["checkpoint/tokenizer.json"])
    assert plan(recipe) == sweep


def test_the_plan_names_no_places(recipe: Recipe, tmp_path: Path) -> None:
    assert str(tmp_path) not in plan(recipe).record.model_dump_json()


def test_moving_files_and_ports_keeps_the_sweep(recipe: Recipe, tmp_path: Path) -> None:
    assert recipe.bench.prompts is not None
    prompts = shutil.copy(recipe.bench.prompts, tmp_path / "elsewhere.txt")
    bundle = shutil.copytree(recipe.engine.output, tmp_path / "moved")
    moved = changed(recipe, "bench", output=tmp_path / "other", prompts=Path(prompts))
    moved = changed(moved, "engine", output=bundle)
    moved = changed(moved, "serve", repository=tmp_path / "repo", grpc_port=4242)
    assert plan(moved).record == plan(recipe).record


def test_a_budget_is_no_condition(recipe: Recipe) -> None:
    assert plan(changed(recipe, "bench", budget=3.0)).record == plan(recipe).record


@pytest.mark.parametrize(
    ("concurrency", "variants", "strategy", "repeats"),
    [((1, 2, 3), 1, "grid", 1), ((1, 2, 3, 4), 1, "frontier", 3), ((1, 2), 2, "frontier", 3), ((1,), 3, "grid", 1)],
)
def test_the_strategy_of_a_recipe_that_names_none(
    recipe: Recipe, concurrency: tuple[int, ...], variants: int, strategy: str, repeats: int
) -> None:
    named = tuple(VariantSection(name=f"v{number}") for number in range(variants)) if variants > 1 else ()
    planned = outline(changed(recipe, "bench", concurrency=concurrency, variants=named))
    assert (planned.strategy, planned.repeats) == (strategy, repeats)
    assert len(planned.points) == len(concurrency) * variants
    assert {point.repeat for point in planned.points} == {1}


def rounds_of(planned: Outline) -> list[tuple[str, int]]:
    """Variants and repeats in their order, one for each run of equal ones."""
    return [key for key, _ in groupby((point.variant, point.repeat) for point in planned.points)]


def test_the_order_of_variants(recipe: Recipe) -> None:
    named = tuple(VariantSection(name=name) for name in "abc")
    blocks = outline(changed(recipe, "bench", variants=named, strategy="grid", repeats=2))
    names = [key for key, _ in groupby(point.variant for point in blocks.points)]
    assert sorted(names) == list("abc")
    rounds = outline(changed(recipe, "bench", variants=named, strategy="grid", repeats=2, order="rounds"))
    assert sorted(rounds.points, key=str) == sorted(blocks.points, key=str)
    assert [repeat for _, repeat in rounds_of(rounds)] == [1, 1, 1, 2, 2, 2]
    assert {name for name, _ in rounds_of(rounds)[3:]} == set("abc")


def test_whatever_a_measurement_depends_on_changes_the_sweep(recipe: Recipe, tmp_path: Path) -> None:
    text = tmp_path / "other.txt"
    text.write_text("w1 w2")
    sweeps = [
        plan(recipe),
        plan(changed(recipe, "bench", repeats=2)),
        plan(changed(recipe, "bench", seed=1)),
        plan(changed(recipe, "bench", isl=(5,))),
        plan(changed(recipe, "bench", runner="engine")),
        plan(changed(recipe, "bench", strategy="frontier")),
        plan(changed(recipe, "bench", slo=SloSection(ttft_p99_ms=5))),
        plan(changed(recipe, "bench", prompts=text)),
        plan(changed(recipe, "bench", prompts=None)),
        plan(changed(recipe, "serve", max_queue_size=1)),
        plan(recipe, environment=made_up_environment("GPU made-up")),
        plan(recipe, url="elsewhere:1"),
        plan(recipe, url="[2001:db8::1]:1"),
    ]
    manifest = recipe.engine.output / "engine.json"
    changed_bundle = json.loads(manifest.read_text())
    changed_bundle["files"]["checkpoint/tokenizer.json"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(changed_bundle))
    sweeps.append(plan(recipe))
    assert len({sweep.record.sweep_id for sweep in sweeps}) == len(sweeps)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        (None, OWN_SERVER),
        ("127.0.0.1:8001", OWN_SERVER),
        ("127.0.0.9:41533", OWN_SERVER),
        ("localhost:8001", OWN_SERVER),
        ("[::1]:8001", OWN_SERVER),
        ("gpu-box:8001", "gpu-box"),
        ("10.0.0.7:8001", "10.0.0.7"),
        ("[2001:db8::1]:8001", "2001:db8::1"),
        ("[broken", "[broken"),
    ],
)
def test_a_server_counts_by_its_host(recipe: Recipe, url: str | None, server: str) -> None:
    assert plan(recipe, url=url).record.plan.server == server


def test_missing_prompts(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.txt: cannot read the prompts: No such file"):
        plan(changed(recipe, "bench", prompts=tmp_path / "absent.txt"))
