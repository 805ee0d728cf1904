from __future__ import annotations

from typing import Any

import pytest

from tests.models.layouts import CASES, layout
from toolkit.errors import CheckpointError
from toolkit.models import qwen3_moe
from toolkit.models.geometry import Geometry

CONFIG = CASES["qwen3-moe-bf16"]["config"]


def test_geometry() -> None:
    """``intermediate_size``, 112 here, is that of the dense layers, of which there are none."""
    assert qwen3_moe.geometry(CONFIG, "folder") == Geometry(
        layers=2,
        hidden=64,
        intermediate=48,
        experts=4,
        experts_per_token=2,
        heads=6,
        kv_heads=2,
        head_dim=16,
        vocab=320,
        windows=(None, None),
        max_positions=256,
        tied=False,
    )


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({"use_sliding_window": False, "sliding_window": 32}, (None, None)),
        ({"use_sliding_window": True, "sliding_window": 32}, (32, 32)),
        ({"use_sliding_window": True, "sliding_window": None}, (None, None)),
    ],
)
def test_the_switch_decides_about_the_window(changes: dict[str, Any], windows: tuple[int | None, ...]) -> None:
    assert qwen3_moe.geometry({**CONFIG, **changes}, "folder").windows == windows


def test_attention_biases_have_tensors() -> None:
    read = qwen3_moe.geometry({**CONFIG, "attention_bias": True}, "folder")
    tensors = qwen3_moe.FAMILY.tensors(read, layout("qwen3-moe-bf16"))
    assert tensors["model.layers.1.self_attn.k_proj.bias"] == ("BF16", (32,))
    assert "model.layers.1.mlp.experts.0.up_proj.bias" not in tensors


@pytest.mark.parametrize(("changes", "said"), [({"mlp_only_layers": [0]}, "[0]"), ({"decoder_sparse_step": 2}, "None")])
def test_dense_layers_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        qwen3_moe.geometry({**CONFIG, **changes}, "folder")
    assert str(caught.value) == (
        f"folder/config.json: some layers are dense (mlp_only_layers {said}). "
        "trtkit knows Qwen3-MoE with experts in every layer, as every published one has them"
    )


@pytest.mark.parametrize("key", ["moe_intermediate_size", "num_experts", "num_experts_per_tok"])
def test_a_missing_key(key: str) -> None:
    with pytest.raises(CheckpointError, match=f"folder/config.json: {key} is None, not a positive integer"):
        qwen3_moe.geometry({other: value for other, value in CONFIG.items() if other != key}, "folder")
