"""The functions that a plan uses, too, by themselves."""

from __future__ import annotations

import pytest

from tests.inspection.test_modules import EXPERTS, LINEAR, infos
from toolkit.inspection import defects
from toolkit.inspection.modules import modules

SCALE = "e.gate_up_proj_weight_scale"


def test_untransposed_scales() -> None:
    assert defects.untransposed_scales(infos({**LINEAR, **EXPERTS})) == ()
    assert defects.untransposed_scales(infos({**EXPERTS, SCALE: ("F8_E4M3", (4, 32, 6))})) == (SCALE,)
    assert defects.untransposed_scales(infos({SCALE: ("F8_E4M3", (4, 32, 6))})) == ()


def test_missing_input_scales() -> None:
    tensors = infos({**LINEAR, **EXPERTS})
    assert defects.missing_input_scales(tensors) == ()
    names = ("a.input_scale", "e.gate_up_proj_input_scale")
    assert defects.missing_input_scales({k: v for k, v in tensors.items() if k not in names}) == names


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("lm_head", ["lm_head"]),
        ("model.layers.1.self_attn*", ["model.layers.1.self_attn.q_proj"]),
        ("model.layers.1.self_attn", ["model.layers.1.self_attn.q_proj"]),
        ("model.layers.1", ["model.layers.1.self_attn.q_proj"]),
        ("model.layers.1.self_attn.q", []),
        ("*q_proj", ["model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"]),
        ("model.layers.*.self_attn", ["model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"]),
        ("head", []),
        ("", []),
    ],
)
def test_exclusion(entry: str, names: list[str]) -> None:
    every = ["lm_head", "model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"]
    listed = defects.exclusion([entry])
    assert [name for name in every if listed(name)] == names
    assert not any(map(defects.exclusion([]), every))


def test_duplicate_excludes() -> None:
    assert defects.duplicate_excludes(["b", "a", "b", "c", "a", "a"]) == ("b", "a")


def test_a_scale_without_a_shape_is_misshapen() -> None:
    found = modules(infos({**LINEAR, "a.weight": ("U8", ())}))
    assert defects.misshapen_scales(found) == found
