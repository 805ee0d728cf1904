from __future__ import annotations

import pytest

from tests.models.layouts import CASES
from toolkit.errors import CheckpointError
from toolkit.models import llama
from toolkit.models.geometry import Geometry

CONFIG = CASES["llama-bf16"]["config"]


def test_geometry() -> None:
    assert llama.geometry(CONFIG, "folder") == Geometry(
        layers=2,
        hidden=64,
        intermediate=112,
        experts=0,
        experts_per_token=0,
        heads=6,
        kv_heads=2,
        head_dim=16,
        vocab=320,
        windows=(None, None),
        max_positions=256,
        tied=False,
    )


def test_biases_and_ties() -> None:
    read = llama.geometry({**CONFIG, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}, "folder")
    assert (read.attention_bias, read.ffn_bias, read.tied) == (True, True, True)


def test_an_old_config_has_neither_head_dim_nor_kv_heads() -> None:
    old = {key: value for key, value in CONFIG.items() if key not in ("head_dim", "num_key_value_heads")}
    read = llama.geometry({**old, "num_attention_heads": 4}, "folder")
    assert (read.head_dim, read.kv_heads) == (16, 4)


def test_a_width_that_does_not_split_into_heads() -> None:
    with pytest.raises(CheckpointError) as caught:
        llama.geometry({**CONFIG, "head_dim": None}, "folder")
    assert str(caught.value) == (
        "folder/config.json: hidden_size 64 is not a multiple of num_attention_heads 6. "
        "Take config.json from the export that these weights came with"
    )
