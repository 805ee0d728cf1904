from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.layouts import CASES
from toolkit.errors import CheckpointError
from toolkit.models.geometry import Geometry
from toolkit.models.registry import FAMILIES, find

HINT = "Take config.json from the export that these weights came with"
NAMES = {"LlamaForCausalLM": "llama-bf16", "Qwen3MoeForCausalLM": "qwen3-moe-bf16", "GptOssForCausalLM": "gpt-oss-bf16"}


def geometry(case: str, **changes: Any) -> Geometry:
    config = {**CASES[case]["config"], **changes}
    family = find(config["architectures"][0])
    assert family is not None
    return family.geometry({key: value for key, value in config.items() if value != "absent"}, "folder")


def error(case: str, **changes: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        geometry(case, **changes)
    return str(caught.value)


@pytest.mark.parametrize("case", NAMES.values())
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hidden_size": None}, "hidden_size is None, not a positive integer of 32 bits"),
        ({"num_hidden_layers": "absent"}, "num_hidden_layers is None, not a positive integer of 32 bits"),
        ({"num_hidden_layers": 4097}, "num_hidden_layers is 4097, more than 4096"),
        ({"num_attention_heads": True}, "num_attention_heads is True, not a positive integer of 32 bits"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0, not a positive integer of 32 bits"),
        ({"head_dim": 8.0}, "head_dim is 8.0, not a positive integer of 32 bits"),
        ({"vocab_size": 1 << 31}, "vocab_size is 2147483648, not a positive integer of 32 bits"),
        ({"max_position_embeddings": -1}, "max_position_embeddings is -1, not a positive integer of 32 bits"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no', not true or false"),
    ],
)
def test_impossible_configs(case: str, changes: dict[str, Any], expected: str) -> None:
    assert error(case, **changes) == f"folder/config.json: {expected}. {HINT}"


@pytest.mark.parametrize("case", NAMES.values())
def test_what_a_config_may_leave_out(case: str) -> None:
    read = geometry(case, max_position_embeddings="absent", tie_word_embeddings="absent")
    assert (read.max_positions, read.tied) == (None, False)


@pytest.mark.parametrize("case", NAMES.values())
def test_the_keys_of_transformers_5_change_nothing(case: str) -> None:
    renamed = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "dtype": "bfloat16"}
    old = {"rope_scaling": None, "rope_theta": 1e6, "torch_dtype": "bfloat16"}
    assert geometry(case, **renamed) == geometry(case, **old)


def test_projection_shapes() -> None:
    read = geometry("llama-bf16")
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    shapes = [(96, 64), (32, 64), (32, 64), (64, 96), (112, 64), (112, 64), (64, 112)]
    assert [read.projection_shape(name) for name in names] == shapes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("architecture", FAMILIES)
@given(data=st.data())
def test_any_config_is_read_or_refused(architecture: str, data: st.DataObject) -> None:
    config = CASES[NAMES[architecture]]["config"]
    keys = st.sampled_from(sorted(config))
    changed = {**config, **data.draw(st.dictionaries(keys, JSON, max_size=3))}
    try:
        outcome: object = FAMILIES[architecture].geometry(changed, "folder")
    except CheckpointError as refused:
        outcome = refused.where
    assert outcome == "folder/config.json" or isinstance(outcome, Geometry)
