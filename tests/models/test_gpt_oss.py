from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.models.gpt_oss import Format, Geometry, attention_weights, tensors


def specs(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    with Checkpoint.open(folder) as source:
        return {name: (info.dtype, info.shape) for name, info in source.tensors.items()}


def geometry(folder: Path) -> Geometry:
    return Geometry.from_config(json.loads((folder / "config.json").read_text()), str(folder))


@pytest.mark.parametrize(
    ("name", "attention", "experts"),
    [
        ("tiny-gpt-oss-nvfp4-modelopt-0.37", "nvfp4", "nvfp4"),
        ("tiny-gpt-oss-nvfp4-sharded-modelopt-0.37", "nvfp4", "nvfp4"),
        ("tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37", "bf16", "nvfp4"),
        ("tiny-gpt-oss-bf16", "bf16", "bf16"),
    ],
)
def test_the_layouts_are_what_modelopt_and_transformers_write(
    shared_fixtures: Path, name: str, attention: Format, experts: Format
) -> None:
    folder = shared_fixtures / name
    assert tensors(geometry(folder), attention=attention, experts=experts) == specs(folder)


def test_the_layouts_of_the_sample(root: Path, sample: Path) -> None:
    """Here every dimension differs from every other, so a transposed axis cannot hide."""
    assert tensors(geometry(sample), attention="nvfp4") == specs(sample)
    source = root / "samples/tiny-gpt-oss/bf16"
    assert tensors(geometry(source), attention="bf16", experts="bf16") == specs(source)


def test_attention_weights_are_named_layer_by_layer(sample: Path) -> None:
    names = list(attention_weights(geometry(sample)))
    assert len(names) == 24
    assert names[4:6] == ["model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.weight"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hidden_size": None}, "hidden_size is None, not a positive integer of 32 bits"),
        ({"num_local_experts": True}, "num_local_experts is True, not a positive integer of 32 bits"),
        ({"vocab_size": 1 << 31}, "vocab_size is 2147483648, not a positive integer of 32 bits"),
        ({"intermediate_size": 24}, "intermediate_size 24 is not a multiple of the group size 16"),
    ],
)
def test_impossible_configs(sample: Path, changes: dict[str, Any], expected: str) -> None:
    config = json.loads((sample / "config.json").read_text())
    with pytest.raises(CheckpointError) as caught:
        Geometry.from_config({**config, **changes}, "folder")
    hint = "Take config.json from the export that these weights came with"
    assert str(caught.value) == f"folder/config.json: {expected}. {hint}"
