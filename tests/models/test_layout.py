from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toolkit.checkpoint.header import TensorInfo
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.models.gpt_oss import Geometry
from toolkit.models.layout import Layout, match


@pytest.fixture
def opened(sample: Path) -> tuple[dict[str, TensorInfo], Geometry]:
    with Checkpoint.open(sample) as source:
        return dict(source.tensors), Geometry.from_config(source.config)


def message(found: dict[str, TensorInfo], geometry: Geometry) -> str:
    with pytest.raises(CheckpointError) as caught:
        match(found, geometry)
    return str(caught.value)


def test_the_sample(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    assert match(*opened) == Layout(attention="nvfp4", experts="nvfp4")


def test_kv_scales_may_come_on_top(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    found, geometry = opened
    name = "model.layers.0.self_attn.k_proj.k_scale"
    found[name] = TensorInfo(name, "F32", (), "model-00001-of-00003.safetensors", 0, 4)
    match(found, geometry)


def test_expert_scales_along_out_are_named_as_the_export_defect(
    opened: tuple[dict[str, TensorInfo], Geometry],
) -> None:
    found, geometry = opened
    name = "model.layers.2.mlp.experts.down_proj_weight_scale"
    assert found[name].shape == (8, 10, 192)
    found[name] = replace(found[name], shape=(8, 160, 12))
    assert message(found, geometry) == (
        f"{found[name].shard}: {name}: the tensor is F8_E4M3 [8, 160, 12], not F8_E4M3 [8, 10, 192]. "
        "Block scales run along out: the defect of ModelOpt 0.35.0 and 0.35.1; export again with 0.37 or later"
    )


def test_a_missing_activation_scale(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    found, geometry = opened
    del found["model.layers.0.mlp.experts.gate_up_proj_input_scale"]
    assert message(found, geometry) == (
        "3 shard(s), 212 tensors: tensor 'model.layers.0.mlp.experts.gate_up_proj_input_scale' is missing. "
        "The export has no activation scale; calibrate it again with ModelOpt"
    )


def test_an_unknown_tensor(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    found, geometry = opened
    name = "model.layers.0.mlp.experts.gate_up_proj_scale"
    found[name] = TensorInfo(name, "F32", (), "model-00001-of-00003.safetensors", 0, 4)
    assert message(found, geometry) == (
        f"model-00001-of-00003.safetensors: unknown tensor {name!r}. "
        "Did the export mean 'model.layers.0.mlp.experts.gate_up_proj_input_scale'?"
    )
