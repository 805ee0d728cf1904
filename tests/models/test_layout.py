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
        return dict(source.tensors), Geometry.from_config(source.config, str(sample))


def message(found: dict[str, TensorInfo], geometry: Geometry) -> str:
    with pytest.raises(CheckpointError) as caught:
        match(found, geometry, "folder")
    return str(caught.value)


def test_the_sample(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    assert match(*opened, "folder") == Layout(attention="nvfp4", experts="nvfp4")


SHARD = "model-00001-of-00003.safetensors"


@pytest.mark.parametrize("name", ["k_proj.k_scale", "v_proj.v_scale"])
def test_kv_scales_may_come_on_top(opened: tuple[dict[str, TensorInfo], Geometry], name: str) -> None:
    found, geometry = opened
    name = f"model.layers.{geometry.layers - 1}.self_attn.{name}"
    found[name] = TensorInfo(name, "F32", (), SHARD, 0, 4)
    assert match(found, geometry, "folder") == Layout(attention="nvfp4", experts="nvfp4")


@pytest.mark.parametrize(("dtype", "shape"), [("I64", ()), ("F32", (1,)), ("BF16", ())])
def test_a_kv_scale_is_one_fp32_value(
    opened: tuple[dict[str, TensorInfo], Geometry], dtype: str, shape: tuple[int, ...]
) -> None:
    found, geometry = opened
    name = "model.layers.0.self_attn.k_proj.k_scale"
    found[name] = TensorInfo(name, dtype, shape, SHARD, 0, 8)
    expected = f"folder/{SHARD}, tensor {name!r}: is {dtype} {list(shape)}, not F32 []. "
    assert message(found, geometry).startswith(expected)


@pytest.mark.parametrize("layer", [6, "x"])
def test_a_kv_scale_of_no_layer(opened: tuple[dict[str, TensorInfo], Geometry], layer: object) -> None:
    found, geometry = opened
    name = f"model.layers.{layer}.self_attn.v_proj.v_scale"
    found[name] = TensorInfo(name, "F32", (), SHARD, 0, 4)
    assert message(found, geometry).startswith(f"folder/{SHARD}: unknown tensor {name!r}. ")


def test_more_layers_than_tensors(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    found, geometry = opened
    assert message(found, replace(geometry, layers=3_000_000)) == (
        "folder: num_hidden_layers is 3000000, but there are 213 tensors in all. "
        "Take config.json from the export that these weights came with"
    )


def test_mxfp4_is_called_by_its_name(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    """openai/gpt-oss as the Hub has it: BF16 attention, experts in *_blocks and *_scales."""
    found, geometry = opened
    for layer in range(geometry.layers):
        for name in ("gate_up_proj", "down_proj"):
            stem = f"model.layers.{layer}.mlp.experts.{name}"
            for old, new in ((stem, "_blocks"), (f"{stem}_weight_scale", "_scales")):
                found[stem + new] = replace(found.pop(old), name=stem + new)
            del found[f"{stem}_weight_scale_2"], found[f"{stem}_input_scale"]
    assert message(found, geometry) == (
        "folder: the experts are MXFP4, not NVFP4. TensorRT-LLM serves MXFP4 as it is, without trtkit; for NVFP4, "
        "export it with ModelOpt 0.45 or later: hf_ptq.py --qformat nvfp4_mlp_only --cast_mxfp4_to_nvfp4"
    )


def test_expert_scales_along_out_are_named_as_the_export_defect(
    opened: tuple[dict[str, TensorInfo], Geometry],
) -> None:
    found, geometry = opened
    name = "model.layers.2.mlp.experts.down_proj_weight_scale"
    assert found[name].shape == (8, 10, 192)
    found[name] = replace(found[name], shape=(8, 160, 12))
    assert message(found, geometry) == (
        f"folder/{found[name].shard}, tensor {name!r}: is F8_E4M3 [8, 160, 12], not F8_E4M3 [8, 10, 192]. "
        "Block scales run along out: the defect of ModelOpt 0.35.0 and 0.35.1; export again with 0.37 or later"
    )


def test_a_missing_activation_scale(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    found, geometry = opened
    del found["model.layers.0.mlp.experts.gate_up_proj_input_scale"]
    assert message(found, geometry) == (
        "folder: tensor 'model.layers.0.mlp.experts.gate_up_proj_input_scale' is missing. "
        "The export has no activation scale; calibrate it again with ModelOpt"
    )


def test_an_unknown_tensor(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    found, geometry = opened
    name = "model.layers.0.mlp.experts.gate_up_proj_scale"
    found[name] = TensorInfo(name, "F32", (), "model-00001-of-00003.safetensors", 0, 4)
    assert message(found, geometry) == (
        f"folder/model-00001-of-00003.safetensors: unknown tensor {name!r}. "
        "Did the export mean 'model.layers.0.mlp.experts.gate_up_proj_input_scale'?"
    )


def test_a_tensor_like_no_other(opened: tuple[dict[str, TensorInfo], Geometry]) -> None:
    found, geometry = opened
    found["zzz"] = TensorInfo("zzz", "F32", (), SHARD, 0, 4)
    assert message(found, geometry) == (
        f"folder/{SHARD}: unknown tensor 'zzz'. "
        "trtkit knows what ModelOpt exports of GptOssForCausalLM; export the checkpoint again without it"
    )
