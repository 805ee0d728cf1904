"""The functions that a plan uses, too, by themselves."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.lists(st.text("ab.*?[]!", max_size=6), max_size=4), st.text("ab.", max_size=9))
def test_exclusion_is_fnmatch_of_each_holder(entries: list[str], name: str) -> None:
    parts = name.split(".")
    holders = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    expected = any(fnmatchcase(holder, entry) for holder in holders for entry in entries)
    assert defects.exclusion(entries)(name) == expected


def test_exclusion_compares_prefixes_without_a_pattern_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of 100,000 names and prefixes is looked up, not tried entry by entry."""
    compiled: list[str] = []

    def counted(pattern: str) -> re.Pattern[str]:
        compiled.append(pattern)
        return compile_pattern(pattern)

    compile_pattern = re.compile
    monkeypatch.setattr(re, "compile", counted)
    entries = [f"m.{number}{end}" for number in range(50_000) for end in ("", ".x*")]
    listed = defects.exclusion(entries)
    assert [listed("m.7.y"), listed("m.50000.x"), listed("m.49999.xy.z"), listed("m")] == [True, False, True, False]
    assert compiled == ["(?!)"]


def test_duplicate_excludes() -> None:
    assert defects.duplicate_excludes(["b", "a", "b", "c", "a", "a"]) == ("b", "a")


def test_a_scale_without_a_shape_is_misshapen() -> None:
    found = modules(infos({**LINEAR, "a.weight": ("U8", ())}))
    assert defects.misshapen_scales(found, lambda module: 16) == found
