from __future__ import annotations

import math

from toolkit.inspection import scalars

A = "l.0.self_attn."


def test_nothing_wrong() -> None:
    sound = {
        f"{A}{p}_proj.{s}": value for p in "qkvo" for s, value in (("weight_scale_2", 0.25), ("input_scale", 0.125))
    }
    assert scalars.unusable(sound, scalars.TENSOR_SCALES + scalars.INPUT_SCALES) == ()
    assert scalars.uncalibrated(sound) == scalars.copied_input_scales(sound) == scalars.all_one(sound) == ()
    assert scalars.unequal_fused_scales(sound) == ()


def test_unusable() -> None:
    found = {
        "a.weight_scale_2": math.nan,
        "b_weight_scale_2": -math.inf,
        "c.weight_scale_2": 0.0,
        "d.input_scale": -0.0,
    }
    assert scalars.unusable(found, scalars.TENSOR_SCALES) == (
        "a.weight_scale_2",
        "b_weight_scale_2",
        "c.weight_scale_2",
    )
    assert scalars.unusable(found, scalars.INPUT_SCALES) == ("d.input_scale",)


def test_uncalibrated_is_half_over_2688() -> None:
    found = {
        "a.input_scale": 1.860e-4,
        "b_input_scale": 1.8601191e-4,
        "c.input_scale": 1.87e-4,
        "d.k_scale": 1.86012e-4,
    }
    assert scalars.uncalibrated(found) == ("a.input_scale", "b_input_scale")


def test_unequal_needs_the_whole_group() -> None:
    q, k, v = (f"{A}{p}_proj.weight_scale_2" for p in "qkv")
    assert scalars.unequal_fused_scales({q: 1.0, k: 1.0, v: 2.0}) == ((q, k, v),)
    assert scalars.unequal_fused_scales({q: 1.0, k: 2.0}) == ()
    assert scalars.unequal_fused_scales({q: 1.0, k: 1.0, v: math.nan}) == (), "which has a finding of its own"


def test_gate_and_up_of_one_expert() -> None:
    gate, up, down = (f"l.0.mlp.experts.3.{p}_proj.input_scale" for p in ("gate", "up", "down"))
    assert scalars.unequal_fused_scales({gate: 1.0, up: 2.0, down: 3.0}) == ((gate, up),)


def test_shared_over_experts() -> None:
    names = [f"l.{layer}.experts.{expert}.down_proj.input_scale" for layer in (0, 1) for expert in (0, 1)]
    assert scalars.shared_over_experts(dict(zip(names, (0.5, 0.5, 0.5, 0.25), strict=True))) == ("l.0.experts",)
    assert scalars.shared_over_experts(dict.fromkeys(names, 1.0)) == ()
    assert scalars.shared_over_experts({names[0]: 0.5}) == ()
