"""YaRN against hand-computed gpt-oss constants, rotation against complex numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from toolkit.errors import CheckpointError
from toolkit.numerics.rope import Rope, Yarn, frequencies, rotate, tables

GPT_OSS = Rope(150000.0, 64, Yarn(32.0, 4096, 32.0, 1.0, truncate=False))
PLAIN_SECTION = {
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 4096,
    "truncate": False,
}
YARN_SECTION = {**PLAIN_SECTION, "rope_type": "yarn"}


def by_hand(low: float, high: float) -> np.ndarray:
    plain = [150000.0 ** (-2 * plane / 64) for plane in range(32)]
    ramp = [min(max((plane - low) / (high - low), 0.0), 1.0) for plane in range(32)]
    return np.array([f * (1 - r) + f / 32 * r for f, r in zip(plain, ramp, strict=True)])


def test_frequencies_use_the_exact_correction_range() -> None:
    # 64·ln(4096 / (32·2π)) / (2·ln 150000) and 64·ln(4096 / 2π) / (2·ln 150000)
    expected = by_hand(8.092779, 17.398025)
    np.testing.assert_allclose(frequencies(GPT_OSS), expected, rtol=1e-5)


def test_truncate_rounds_the_range_outwards() -> None:
    assert GPT_OSS.yarn is not None
    rounded = replace(GPT_OSS, yarn=replace(GPT_OSS.yarn, truncate=True))
    np.testing.assert_allclose(frequencies(rounded), by_hand(8, 18), rtol=2e-6)


def test_the_ends_of_the_spectrum_are_kept_and_divided() -> None:
    plain = frequencies(Rope(150000.0, 64))
    stretched = frequencies(GPT_OSS)
    np.testing.assert_array_equal(stretched[:9], plain[:9])
    np.testing.assert_allclose(stretched[18:], plain[18:] / 32, rtol=1e-6)


def test_attention_scaling() -> None:
    assert GPT_OSS.yarn is not None
    assert GPT_OSS.yarn.attention_scaling == pytest.approx(0.1 * math.log(32) + 1)
    assert Yarn(1.0, 4096).attention_scaling == 1.0
    assert Yarn(32.0, 4096, attention_factor=0.5).attention_scaling == 0.5


def test_rotate_multiplies_by_a_complex_number() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3, 64)).astype(np.float32)
    positions = np.arange(400, 450)
    cos, sin = tables(GPT_OSS, 450)
    angles = positions[:, None] * frequencies(GPT_OSS).astype(np.float64)
    turned = (x[..., :32] + 1j * x[..., 32:]) * np.exp(1j * angles)[:, None] * (0.1 * math.log(32) + 1)
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    # angles are float32: 400 radians are known to about 3e-5
    np.testing.assert_allclose(rotate(x, cos[positions], sin[positions]), expected, atol=3e-4)


def test_scores_depend_on_the_distance_only() -> None:
    query, key = np.random.default_rng(1).standard_normal((2, 1, 1, 64)).astype(np.float32)
    cos, sin = tables(GPT_OSS, 300)

    def score(at: int, other: int) -> float:
        return float(np.vdot(rotate(query, cos[[at]], sin[[at]]), rotate(key, cos[[other]], sin[[other]])))

    assert score(12, 5) == pytest.approx(score(257, 250), abs=1e-3)
    assert score(12, 5) != pytest.approx(score(12, 6), abs=1e-2)


@pytest.mark.parametrize(
    "config",
    [
        {"rope_theta": 150000.0, "rope_scaling": YARN_SECTION},
        {"rope_theta": 150000.0, "rope_scaling": {**PLAIN_SECTION, "type": "yarn"}},
        {"rope_parameters": {**YARN_SECTION, "rope_theta": 150000.0}},
    ],
    ids=["transformers 4", "the older key", "transformers 5"],
)
def test_from_config_reads_both_spellings(config: dict) -> None:
    assert Rope.from_config(config, 64) == GPT_OSS


def test_from_config_defaults() -> None:
    assert Rope.from_config({"rope_theta": 10000}, 64) == Rope(10000.0, 64)
    bare = {"rope_theta": 1e4, "max_position_embeddings": 2048, "rope_scaling": {"rope_type": "yarn", "factor": 4}}
    assert Rope.from_config(bare, 64).yarn == Yarn(4.0, 2048, 32.0, 1.0, truncate=True)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({}, "no key 'rope_theta'"),
        ({"rope_theta": 1e4, "rope_scaling": {"rope_type": "llama3"}}, "rope type 'llama3' is not known"),
        ({"rope_theta": 1e4, "rope_scaling": {"rope_type": "yarn"}}, "YaRN needs factor"),
    ],
)
def test_from_config_refuses(config: dict, what: str) -> None:
    with pytest.raises(CheckpointError, match=what):
        Rope.from_config(config, 64)
