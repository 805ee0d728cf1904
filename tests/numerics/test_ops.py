"""Each operation against a plain loop in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from toolkit.numerics import nvfp4
from toolkit.numerics.ops import (
    Experts,
    Linear,
    attend,
    linear,
    matmul,
    mix_experts,
    rms_norm,
    route,
    swiglu,
)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 16, 64, 65, 200])
def test_matmul_is_the_same_product_for_every_number_of_rows(rows: int) -> None:
    x, weight = random(rows, 48), random(80, 48, seed=1)
    product = matmul(x, weight)
    assert product.shape == (rows, 80)
    np.testing.assert_allclose(product, x.astype(np.float64) @ weight.T.astype(np.float64), atol=1e-5)


def test_linear_adds_the_bias_and_is_contiguous() -> None:
    x, weight, bias = random(5, 32), random(8, 32, seed=1), random(8, seed=2)
    for layer in (Linear(weight, bias), Linear(weight)):
        y = linear(x, layer)
        expected = x.astype(np.float64) @ weight.T + (0 if layer.bias_O is None else bias)
        assert y.flags.c_contiguous
        np.testing.assert_allclose(y, expected, atol=1e-5)


def test_linear_with_an_input_scale_multiplies_what_nvfp4_keeps_of_the_input() -> None:
    x, weight = random(5, 32), random(8, 32, seed=1)
    seen = nvfp4.fake_quantize_activation(x, 0.002)
    assert np.abs(seen - x).max() > 0.05
    np.testing.assert_allclose(linear(x, Linear(weight, None, 0.002)), seen.astype(np.float64) @ weight.T, atol=1e-5)


def test_rms_norm() -> None:
    x, weight = random(4, 24) * 100, random(24, seed=1)
    expected = [
        [w * v / math.sqrt(np.mean(row.astype(float) ** 2) + 1e-5) for w, v in zip(weight, row, strict=True)]
        for row in x
    ]
    np.testing.assert_allclose(rms_norm(x, weight, 1e-5), expected, rtol=1e-5)


def test_attend_has_sinks_in_the_denominator_only() -> None:
    q, k, v, sinks = random(2, 3, 8), random(2, 5, 8, seed=1), random(2, 5, 8, seed=2), random(2, 3, seed=3)
    out = attend(q, k, v, sinks, None)
    for head in range(2):
        for row in range(3):
            shares = [math.exp(float(q[head, row].astype(np.float64) @ k[head, key])) for key in range(5)]
            total = sum(shares) + math.exp(sinks[head, row])
            expected = sum(share / total * v[head, key].astype(float) for key, share in enumerate(shares))
            np.testing.assert_allclose(out[head, row], expected, rtol=1e-4, atol=1e-6)


def test_attend_ignores_what_the_bias_hides() -> None:
    q, k, v, sinks = random(1, 2, 8), random(1, 6, 8, seed=1), random(1, 6, 8, seed=2), random(1, 2, seed=3)
    bias = np.where(np.arange(6) < 4, 0, -np.inf).astype(np.float32)
    expected = attend(q, k[:, :4], v[:, :4], sinks, None)
    np.testing.assert_allclose(attend(q, k, v, sinks, bias), expected, rtol=1e-6)


def test_attend_does_not_overflow() -> None:
    q, k, v = np.full((1, 1, 8), 100, np.float32), np.full((1, 3, 8), 100, np.float32), random(1, 3, 8)
    np.testing.assert_allclose(attend(q, k, v, np.zeros((1, 1), np.float32), None)[0, 0], v[0].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_route_takes_the_top_k_before_the_softmax(k: int) -> None:
    logits = random(20, 4)
    chosen, share = route(logits, k)
    for row in range(20):
        best = sorted(range(4), key=lambda expert: -logits[row, expert])[:k]
        weights = {expert: math.exp(logits[row, expert]) for expert in best}
        expected = {expert: weight / sum(weights.values()) for expert, weight in weights.items()}
        assert dict(zip(chosen[row].tolist(), share[row].tolist(), strict=True)) == pytest.approx(expected, rel=1e-5)


def test_swiglu_clamps_and_interleaves() -> None:
    gate = np.array([-200.0, -3.0, 0.0, 2.0, 6.9, 7.0, 50.0])
    up = np.array([-50.0, -7.0, 0.5, 7.0, 50.0, -1.0, 0.0])
    columns = np.stack([gate, up], axis=-1).reshape(1, -1).astype(np.float32)
    limited, clamped = np.minimum(gate, 7), np.clip(up, -7, 7)
    expected = limited / (1 + np.exp(-1.702 * limited)) * (clamped + 1)
    np.testing.assert_allclose(swiglu(columns, 7.0)[0], expected, rtol=1e-5, atol=1e-30)


def some_experts(**scales: float) -> Experts:
    return Experts(
        random(4, 64, 32, seed=1) / 4,
        random(4, 64, seed=2),
        random(4, 32, 32, seed=3) / 4,
        random(4, 32, seed=4),
        **scales,
    )


def token_by_token(x: np.ndarray, experts: Experts, chosen: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The definition: for each token, each of its experts in full, then the weighted sum."""
    out = np.zeros_like(x)
    for row in range(len(x)):
        for expert, weight in zip(chosen[row], share[row], strict=True):
            seen = x[[row]]
            if experts.gate_up_input_scale is not None:
                seen = nvfp4.fake_quantize_activation(seen, experts.gate_up_input_scale)
            inner = swiglu(seen @ experts.gate_up[expert].T + experts.gate_up_bias_EF[expert], 7.0)
            if experts.down_input_scale is not None:
                inner = nvfp4.fake_quantize_activation(inner, experts.down_input_scale)
            out[row] += weight * (inner @ experts.down[expert].T + experts.down_bias_EH[expert])[0]
    return out


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_mix_experts(rows: int) -> None:
    x, experts = random(rows, 32), some_experts()
    chosen, share = route(random(rows, 4, seed=5), 2)
    expected = token_by_token(x, experts, chosen, share)
    np.testing.assert_allclose(mix_experts(x, experts, chosen, share, 7.0), expected, atol=2e-5)


def test_mix_experts_quantises_both_inputs() -> None:
    x, experts = random(9, 32), some_experts(gate_up_input_scale=0.002, down_input_scale=0.004)
    chosen, share = route(random(9, 4, seed=5), 2)
    mixed = mix_experts(x, experts, chosen, share, 7.0)
    # a value at a rounding boundary may fall to either side, which moves one output a little
    error = mixed - token_by_token(x, experts, chosen, share)
    assert np.sqrt(np.mean(error**2) / np.mean(mixed**2)) < 1e-3
    assert np.abs(mixed - mix_experts(x, some_experts(), chosen, share, 7.0)).max() > 0.05
