from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.layouts import CASES
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.models import gpt_oss, llama
from toolkit.models.family import Family
from toolkit.models.geometry import Geometry
from toolkit.models.layout import Layout

CONFIG = CASES["gpt-oss-bf16"]["config"]


def check(family: Family, folder: Path, expected: Layout) -> None:
    """The tensors of a checkpoint on disk are exactly those of the layout, and match tells which it is."""
    with Checkpoint.open(folder) as source:
        found = dict(source.tensors)
        geometry = family.geometry(source.config, str(folder))
    specs = {name: (info.dtype, info.shape) for name, info in found.items()}
    assert family.tensors(geometry, expected) == specs
    assert family.match(found, geometry, str(folder)) == expected


@pytest.mark.parametrize(
    ("family", "name", "expected"),
    [
        (gpt_oss.FAMILY, "tiny-gpt-oss-nvfp4-modelopt-0.37", Layout("nvfp4", "nvfp4")),
        (gpt_oss.FAMILY, "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37", Layout("nvfp4", "nvfp4")),
        (gpt_oss.FAMILY, "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37", Layout("bf16", "nvfp4")),
        (gpt_oss.FAMILY, "tiny-gpt-oss-bf16", Layout("bf16", "bf16")),
        (llama.FAMILY, "tiny-llama-nvfp4-modelopt-0.37", Layout("nvfp4", "nvfp4")),
        (llama.FAMILY, "tiny-llama-bf16", Layout("bf16", "bf16")),
    ],
)
def test_checkpoints_that_modelopt_and_transformers_wrote(
    shared_fixtures: Path, family: Family, name: str, expected: Layout
) -> None:
    check(family, shared_fixtures / name, expected)


def test_the_sample(root: Path, sample: Path) -> None:
    check(gpt_oss.FAMILY, sample, Layout("nvfp4", "nvfp4"))
    check(gpt_oss.FAMILY, root / "samples/tiny-gpt-oss/bf16", Layout("bf16", "bf16"))


def test_geometry() -> None:
    assert gpt_oss.geometry(CONFIG, "folder") == Geometry(
        layers=2,
        hidden=64,
        intermediate=160,
        experts=3,
        experts_per_token=2,
        heads=6,
        kv_heads=2,
        head_dim=16,
        vocab=320,
        windows=(128, None),
        max_positions=256,
        tied=False,
        attention_bias=True,
        ffn_bias=True,
    )


def test_the_geometry_of_the_sample(sample: Path) -> None:
    config = json.loads((sample / "config.json").read_text())
    read = gpt_oss.geometry(config, "folder")
    assert (read.layers, read.heads, read.windows[:2]) == (
        6,
        config["num_attention_heads"],
        (config["sliding_window"], None),
    )


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({"layer_types": None}, (128, None)),
        ({"layer_types": ["full_attention", "sliding_attention"]}, (None, 128)),
        ({"sliding_window": None}, (None, None)),
    ],
)
def test_windows(changes: dict[str, Any], windows: tuple[int | None, ...]) -> None:
    assert gpt_oss.geometry({**CONFIG, **changes}, "folder").windows == windows


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_local_experts": True}, "num_local_experts is True, not a positive integer of 32 bits"),
        ({"head_dim": None}, "head_dim is None, not a positive integer of 32 bits"),
        ({"num_key_value_heads": None}, "num_key_value_heads is None, not a positive integer of 32 bits"),
        ({"intermediate_size": 24}, "intermediate_size 24 is not a multiple of the group size 16"),
        ({"hidden_size": 72}, "hidden_size 72 is not a multiple of the group size 16"),
        (
            {"layer_types": "full_attention"},
            "layer_types is 'full_attention', not a list of sliding_attention and full_attention",
        ),
        (
            {"layer_types": ["full_attention", "other"]},
            "layer_types is ['full_attention', 'other'], not a list of sliding_attention and full_attention",
        ),
    ],
)
def test_impossible_configs(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        gpt_oss.geometry({**CONFIG, **changes}, "folder")
    hint = "Take config.json from the export that these weights came with"
    assert str(caught.value) == f"folder/config.json: {expected}. {hint}"
