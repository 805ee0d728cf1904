"""What a bundle's identity depends on besides plan and source: the recipe's other checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tests.inspection.variants import GPT_OSS, made
from tests.plan.cases import B200, cpu_recipe
from toolkit.engine.identity import Identity
from toolkit.models.layout import Layout
from toolkit.plan.source import open_planned
from toolkit.recipe import Recipe


def identity(recipe: Recipe) -> Identity:
    source, plan = open_planned(recipe)
    with source:
        return Identity.of(recipe, plan, source)


def stamp(folder: Path, seconds: int) -> None:
    for path in folder.glob("*.safetensors"):
        os.utime(path, (seconds, seconds))


def test_a_borrowed_checkpoint_counts_by_size_and_time(tmp_path: Path) -> None:
    broken = made(GPT_OSS, Layout("nvfp4", "nvfp4"), quant_algo="NVFP4", version="0.35.1", exclude_modules=["lm_head"])
    for name in [name for name in broken.tensors if name.endswith("proj_weight_scale")]:
        experts, half, n = broken.tensors[name.removesuffix("_weight_scale")][1].shape
        broken.tensors[name] = ("F8_E4M3", np.full((experts, 2 * half, n // 16), 0x38, np.uint8))
    stored = broken.write(tmp_path / "stored")
    bf16 = made(GPT_OSS, Layout("bf16", "bf16")).write(tmp_path / "bf16")
    recipe = cpu_recipe(*B200, f"checkpoint.path={stored}", f"checkpoint.bf16={bf16}")
    stamp(bf16, 1_000_000)
    before = identity(recipe)
    assert identity(recipe) == before
    stamp(bf16, 1_000_001)
    after = identity(recipe)
    assert (after.weights != before.weights, after.whole != before.whole) == (True, True)


def test_one_that_nothing_is_taken_from_does_not_count(tmp_path: Path) -> None:
    bf16 = made(GPT_OSS, Layout("bf16", "bf16")).write(tmp_path / "bf16")
    recipe = cpu_recipe(*B200, f"checkpoint.bf16={bf16}")
    stamp(bf16, 1_000_000)
    before = identity(recipe)
    stamp(bf16, 1_000_001)
    assert identity(recipe) == before
