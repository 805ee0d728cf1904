from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models.layouts import CASES, VERSIONS, case, infos, layout
from toolkit.models import gpt_oss
from toolkit.models.layout import Layout


def test_where_the_goldens_come_from() -> None:
    assert VERSIONS == {"torch": "2.13.0+cpu", "transformers": "4.56.2", "nvidia-modelopt": "0.37.0"}
    assert {name.split("-")[0] for name in CASES} == {"llama", "qwen3", "gpt"}


@pytest.mark.parametrize("name", CASES)
def test_tensors_are_what_the_libraries_write(name: str) -> None:
    family, geometry, written = case(name)
    kv_scales = family.kv_scales(geometry) if name.endswith("fp8-kv") else {}
    assert family.tensors(geometry, layout(name)) | kv_scales == written


@pytest.mark.parametrize("name", CASES)
def test_match_tells_the_layout(name: str) -> None:
    family, geometry, written = case(name)
    assert family.match(infos(written), geometry, "folder") == layout(name)


def test_the_cases_cover_every_format() -> None:
    assert {(name.split("-")[0], layout(name)) for name in CASES} == {
        ("llama", Layout("bf16", "bf16")),
        ("llama", Layout("nvfp4", "nvfp4")),
        ("llama", Layout("bf16", "nvfp4")),
        ("llama", Layout("fp8", "fp8")),
        ("qwen3", Layout("bf16", "bf16")),
        ("qwen3", Layout("nvfp4", "nvfp4")),
        ("qwen3", Layout("bf16", "nvfp4")),
        ("qwen3", Layout("fp8", "fp8")),
        ("gpt", Layout("bf16", "bf16")),
        ("gpt", Layout("nvfp4", "nvfp4")),
        ("gpt", Layout("bf16", "mxfp4")),
    }


def test_attention_weights_are_named_layer_by_layer() -> None:
    geometry = case("gpt-oss-nvfp4")[1]
    stem = "model.layers.{}.self_attn.{}_proj.weight"
    assert list(gpt_oss.FAMILY.attention_weights(geometry)) == [
        stem.format(layer, projection) for layer in (0, 1) for projection in "qkvo"
    ]


@pytest.mark.parametrize(
    ("case_name", "experts", "name"),
    [
        ("gpt-oss-nvfp4", 3, "gpt-oss-20b"),
        ("gpt-oss-nvfp4", 32, "gpt-oss-20b"),
        ("gpt-oss-nvfp4", 33, "gpt-oss-120b"),
        ("gpt-oss-nvfp4", 256, "gpt-oss-120b"),
        ("llama-nvfp4", 0, "llama"),
        ("qwen3-moe-nvfp4", 128, "qwen3-moe"),
    ],
)
def test_a_size_of_a_family_goes_by_the_published_model(case_name: str, experts: int, name: str) -> None:
    family, geometry, _ = case(case_name)
    assert family.size_name(replace(geometry, experts=experts)) == name


def test_kv_scales() -> None:
    family, geometry, _ = case("llama-nvfp4")
    assert family.kv_scales(geometry) == {
        "model.layers.0.self_attn.k_proj.k_scale": ("F32", ()),
        "model.layers.0.self_attn.v_proj.v_scale": ("F32", ()),
        "model.layers.1.self_attn.k_proj.k_scale": ("F32", ()),
        "model.layers.1.self_attn.v_proj.v_scale": ("F32", ()),
    }
