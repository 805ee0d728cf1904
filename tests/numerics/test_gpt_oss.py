"""The configuration reader, and the forward pass against logits that transformers computed from ModelOpt's exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.cpu.weights import load_weights, read_config
from toolkit.errors import CheckpointError
from toolkit.numerics.gpt_oss import GptOssConfig, Weights, causal_bias, forward
from toolkit.numerics.rope import Rope

CONFIG: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 128,
    "rope_theta": 10000.0,
}


def test_config_reads_sizes_and_fills_in_the_defaults_of_gpt_oss() -> None:
    assert GptOssConfig.from_dict(CONFIG) == GptOssConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_heads=4,
        num_kv_heads=2,
        head_dim=32,
        num_experts=4,
        experts_per_token=2,
        windows=(128, None, 128),
        rms_eps=1e-5,
        swiglu_limit=7.0,
        rope=Rope(10000.0, 32),
    )


def test_config_knows_the_other_spellings() -> None:
    other = {key: value for key, value in CONFIG.items() if key not in ("num_local_experts", "num_experts_per_tok")}
    other |= {"num_experts": 4, "experts_per_token": 2, "head_dim": None}
    config = GptOssConfig.from_dict(other)
    assert (config.num_experts, config.experts_per_token, config.head_dim) == (4, 2, 16)


def test_config_follows_layer_types() -> None:
    full = {**CONFIG, "layer_types": ["full_attention"] * 3, "sliding_window": None}
    assert GptOssConfig.from_dict(full).windows == (None, None, None)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"hidden_size": None}, "'hidden_size' is None, not a size"),
        ({"vocab_size": 0}, "'vocab_size' is 0, not a size"),
        ({"layer_types": ["full_attention"]}, "layer_types does not name"),
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types does not name"),
        ({"sliding_window": None}, "'sliding_window' is None"),
        ({"num_attention_heads": 3}, "not a multiple of num_key_value_heads"),
        ({"num_experts_per_tok": 5}, "more experts a token than exist"),
    ],
)
def test_config_refuses(change: dict[str, Any], what: str) -> None:
    with pytest.raises(CheckpointError, match=what):
        GptOssConfig.from_dict({**CONFIG, **change})


def test_causal_bias_of_a_window() -> None:
    seen = causal_bias(3, 5, 2) == 0
    assert seen.tolist() == [
        [False, True, True, False, False],
        [False, False, True, True, False],
        [False, False, False, True, True],
    ]
    assert (causal_bias(2, 3, None) == 0).tolist() == [[True, True, False], [True, True, True]]


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def load(folder: Path, **choices: Any) -> tuple[Weights, GptOssConfig]:
    with Checkpoint.open(folder) as checkpoint:
        config = read_config(checkpoint)
        return load_weights(checkpoint, config, **{"precision": "w4a16", "experts": "dense", **choices}), config


@pytest.mark.parametrize(
    ("folder", "logits", "choices"),
    [
        ("tiny-gpt-oss-nvfp4-modelopt-0.37", "logits_nvfp4_w4a16_fp32math", {}),
        ("tiny-gpt-oss-nvfp4-sharded-modelopt-0.37", "logits_nvfp4_w4a16_fp32math", {"experts": "routed"}),
        ("tiny-gpt-oss-bf16", "logits_bf16src_fp32math", {}),
    ],
)
def test_forward_equals_transformers(shared_fixtures: Path, folder: str, logits: str, choices: dict[str, Any]) -> None:
    reference = np.load(shared_fixtures / "tiny-gpt-oss-reference-logits.npz")
    weights, config = load(shared_fixtures / folder, **choices)
    for tokens, expected in zip(reference["input_ids"], reference[logits], strict=True):
        assert relative_rms(forward(tokens, weights, config), expected) < 1e-5


def test_forward_equals_transformers_on_the_sample(sample: Path) -> None:
    path = sample.parent / "reference.npz"
    if not path.is_file():
        pytest.skip("the sample's reference logits are not here")
    reference = np.load(path)
    logits = forward(reference["input_ids"], *load(sample))
    assert len(logits) == 400
    assert relative_rms(logits[reference["positions"]], reference["logits"]) < 1e-5


def test_the_mlp_only_export_differs_from_the_source_by_its_experts_alone(shared_fixtures: Path) -> None:
    source, _ = load(shared_fixtures / "tiny-gpt-oss-bf16")
    packed, _ = load(shared_fixtures / "tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37")
    full, _ = load(shared_fixtures / "tiny-gpt-oss-nvfp4-modelopt-0.37")
    for layer, mlp_only, default in zip(source.layers, packed.layers, full.layers, strict=True):
        np.testing.assert_array_equal(layer.qkv[0].weight_OI, mlp_only.qkv[0].weight_OI)
        np.testing.assert_array_equal(mlp_only.experts.gate_up, default.experts.gate_up)
        np.testing.assert_array_equal(mlp_only.experts.down, default.experts.down)
        assert not np.array_equal(layer.experts.gate_up, mlp_only.experts.gate_up)


def test_w4a4_is_not_w4a16(shared_fixtures: Path) -> None:
    folder = shared_fixtures / "tiny-gpt-oss-nvfp4-modelopt-0.37"
    reference = np.load(shared_fixtures / "tiny-gpt-oss-reference-logits.npz")
    tokens, expected = reference["input_ids"][0], reference["logits_nvfp4_w4a16_fp32math"][0]
    weights, config = load(folder, precision="w4a4")
    assert 0.05 < relative_rms(forward(tokens, weights, config), expected) < 1.0
