"""Formats from dtypes and suffixes, without an architecture."""

from __future__ import annotations

from math import prod

import pytest

from toolkit.checkpoint.header import TensorInfo, itemsize
from toolkit.inspection.groups import Group, groups
from toolkit.inspection.modules import modules, parameters
from toolkit.models.known import predicted_census

Specs = dict[str, tuple[str, tuple[int, ...]]]


def infos(specs: Specs) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(name, dtype, shape, "model.safetensors", 0, prod(shape) * itemsize(dtype))
        for name, (dtype, shape) in specs.items()
    }


LINEAR: Specs = {
    "a.weight": ("U8", (64, 16)),
    "a.weight_scale": ("F8_E4M3", (64, 2)),
    "a.weight_scale_2": ("F32", ()),
    "a.input_scale": ("F32", ()),
    "a.bias": ("BF16", (64,)),
    "a.k_scale": ("F32", ()),
}
EXPERTS: Specs = {
    "e.gate_up_proj": ("U8", (4, 16, 96)),
    "e.gate_up_proj_weight_scale": ("F8_E4M3", (4, 2, 96)),
    "e.gate_up_proj_weight_scale_2": ("F32", ()),
    "e.gate_up_proj_input_scale": ("F32", ()),
    "e.gate_up_proj_bias": ("BF16", (4, 96)),
}
MXFP4: Specs = {
    "e.down_proj_blocks": ("U8", (4, 96, 2, 16)),
    "e.down_proj_scales": ("U8", (4, 96, 2)),
    "e.down_proj_bias": ("BF16", (4, 96)),
}
COMPRESSED: Specs = {
    "a.weight_packed": ("U8", (64, 16)),
    "a.weight_scale": ("F8_E4M3", (64, 2)),
    "a.weight_global_scale": ("F32", (1,)),
    "a.input_global_scale": ("F32", (1,)),
}


@pytest.mark.parametrize(
    ("specs", "name", "format", "shape", "count"),
    [
        (LINEAR, "a", "nvfp4", (64, 32), 64 * 32 + 64),
        (EXPERTS, "e.gate_up_proj", "nvfp4", (4, 32, 96), 4 * 32 * 96 + 4 * 96),
        (MXFP4, "e.down_proj", "mxfp4", (4, 96, 64), 4 * 96 * 64 + 4 * 96),
        (COMPRESSED, "a", "compressed-tensors", (64, 32), 64 * 32),
        ({"a.weight": ("F8_E4M3", (8, 4)), "a.weight_scale": ("F32", ())}, "a", "fp8", (8, 4), 32),
        ({"a.weight": ("F8_E4M3", (8, 4)), "a.weight_scale_inv": ("F32", (1, 1))}, "a", "fp8", (8, 4), 32),
        ({"a.weight": ("BF16", (8, 4)), "a.bias": ("BF16", (8,))}, "a", "bf16", (8, 4), 40),
        ({"a.weight": ("F16", (8,))}, "a", "f16", (8,), 8),
        ({"a.sinks": ("F32", (8,))}, "a.sinks", "f32", (8,), 8),
        ({"a.e_score_correction_bias": ("F32", (8,))}, "a.e_score_correction_bias", "f32", (8,), 8),
        ({"a.bias": ("BF16", (8,))}, "a", "bf16", (8,), 8),
        ({"a.weight": ("I8", (8,))}, "a", "i8", (8,), 8),
        ({"a.weight": ("I8", (8, 4)), "a.weight_scale": ("F32", (8,))}, "a", "int8", (8, 4), 32),
        ({"a.weight": ("U8", (4, 8)), "a.weight_scale": ("F32", (8, 1))}, "a", "int4", (8, 8), 64),
        ({"a.weight": ("U8", (8, 16)), "a.weight_scale": ("U8", (8, 1))}, "a", "mxfp4", (8, 32), 256),
        ({"a.weight": ("U8", (8, 16)), "a.weight_scale": ("F8_E8M0", (8, 1))}, "a", "mxfp4", (8, 32), 256),
        ({"a.k_proj.weight": ("BF16", (8, 4)), "a.k_proj.k_bias": ("BF16", (8,))}, "a.k_proj", "bf16", (8, 4), 32),
        ({"a.k_bias": ("BF16", (8,))}, "a.k_bias", "bf16", (8,), 8),
    ],
)
def test_one_module(specs: Specs, name: str, format: str, shape: tuple[int, ...], count: int) -> None:
    tensors = infos(specs)
    (module,) = modules(tensors)
    assert (module.name, module.format, module.shape, module.parameters) == (name, format, shape, count)
    assert set(module.tensors.values()) == set(tensors.values())
    assert module.nbytes == sum(info.nbytes for info in tensors.values())


@pytest.mark.parametrize(
    "specs",
    [
        {"a.weight": ("U8", (64, 16))},
        {name: spec for name, spec in LINEAR.items() if name != "a.weight"},
        {name: spec for name, spec in LINEAR.items() if name != "a.weight_scale"},
        {**LINEAR, "a.weight_scale": ("U8", (64, 2))},
        {**LINEAR, "a.weight": ("BF16", (64, 32))},
        {name: spec for name, spec in EXPERTS.items() if name != "e.gate_up_proj_weight_scale_2"},
        {name: spec for name, spec in MXFP4.items() if name != "e.down_proj_scales"},
        {name: spec for name, spec in COMPRESSED.items() if name != "a.weight_global_scale"},
        {**COMPRESSED, "a.weight_packed": ("I32", (64, 4))},
        {"a.weight": ("F8_E4M3", (8, 4))},
    ],
)
def test_a_mix_that_is_no_format(specs: Specs) -> None:
    assert "unknown" in {module.format for module in modules(infos(specs))}


def test_every_tensor_is_in_one_module() -> None:
    tensors = infos({**LINEAR, **EXPERTS, **MXFP4, "model.norm.weight": ("BF16", (8,))})
    found = modules(tensors)
    assert [module.name for module in found] == ["a", "e.gate_up_proj", "e.down_proj", "model.norm"]
    assert sorted(t.name for module in found for t in module.tensors.values()) == sorted(tensors)


def test_parameters_of_the_120b() -> None:
    """The name says 117 B; U8 elements twice plus BF16 elements of facts computed from its shapes."""
    census = predicted_census("Firworks/gpt-oss-120b-nvfp4")
    assert census is not None
    assert parameters(modules(census.tensors)) == 2 * 57_808_650_240 + 1_211_856_192 == 116_829_156_672


def test_groups_leave_numbers_out() -> None:
    specs: Specs = {f"layers.{layer}.e.{expert}.w.weight": ("BF16", (2, 3)) for layer in (0, 1) for expert in (0, 10)}
    found = groups(modules(infos({**specs, "layers.2.e.0.w.weight": ("BF16", (2, 4))})))
    assert found == (
        Group("layers.*.e.*.w", "bf16", (2, 3), 4, 24, 48),
        Group("layers.*.e.*.w", "bf16", (2, 4), 1, 8, 16),
    )
