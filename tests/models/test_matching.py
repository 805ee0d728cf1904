from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.models.layouts import SHARD, case, infos
from toolkit.checkpoint.header import TensorInfo
from toolkit.errors import CheckpointError
from toolkit.models.geometry import Geometry
from toolkit.models.matching import is_untransposed

CONFIG = "Take config.json from the export that these weights came with"
MODELOPT = "Export the checkpoint again with ModelOpt 0.37 or later"
INCOMPLETE = "Is the download complete, and num_hidden_layers in config.json right?"


class Found:
    """The tensors of one golden, to be damaged."""

    def __init__(self, name: str) -> None:
        self.family, self.geometry, tensors = case(name)
        self.tensors = infos(tensors)

    def change(self, name: str, **changes: Any) -> None:
        self.tensors[name] = replace(self.tensors[name], **changes)

    def add(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        self.tensors[name] = TensorInfo(name, dtype, shape, SHARD, 0, 0)

    def error(self, geometry: Geometry | None = None) -> str:
        with pytest.raises(CheckpointError) as caught:
            self.family.match(self.tensors, geometry or self.geometry, "folder")
        return str(caught.value)


@pytest.mark.parametrize(
    ("case_name", "name", "changes", "expected"),
    [
        (
            "gpt-oss-nvfp4",
            "model.layers.1.mlp.experts.down_proj",
            {"shape": (3, 64, 80)},
            f"U8 [3, 64, 80], not U8 [3, 80, 64]. {CONFIG}",
        ),
        (
            "gpt-oss-mxfp4",
            "model.layers.0.mlp.experts.gate_up_proj_scales",
            {"dtype": "F8_E8M0"},
            f"F8_E8M0 [3, 320, 2], not U8 [3, 320, 2]. {MODELOPT}",
        ),
        (
            "gpt-oss-bf16",
            "model.layers.0.mlp.experts.gate_up_proj",
            {"dtype": "F8_E4M3"},
            f"F8_E4M3 [3, 64, 320], not BF16 [3, 64, 320]. {MODELOPT}",
        ),
        (
            "llama-bf16",
            "model.layers.0.self_attn.q_proj.weight",
            {"dtype": "F16"},
            f"F16 [96, 64], not BF16 [96, 64]. {MODELOPT}",
        ),
        (
            "llama-fp8",
            "model.layers.0.mlp.up_proj.weight_scale",
            {"shape": (112,)},
            f"F32 [112], not F32 []. {CONFIG}",
        ),
        (
            "qwen3-moe-nvfp4",
            "model.layers.1.mlp.experts.2.down_proj.weight_scale",
            {"shape": (3, 64)},
            f"F8_E4M3 [3, 64], not F8_E4M3 [64, 3]. {CONFIG}",
        ),
        (
            "qwen3-moe-nvfp4-fp8-kv",
            "model.layers.1.self_attn.k_proj.k_scale",
            {"shape": (1,)},
            f"F32 [1], not F32 []. {CONFIG}",
        ),
    ],
)
def test_a_tensor_of_another_dtype_or_shape(case_name: str, name: str, changes: dict[str, Any], expected: str) -> None:
    found = Found(case_name)
    found.change(name, **changes)
    assert found.error() == f"folder/{SHARD}, tensor {name!r}: is {expected}"


@pytest.mark.parametrize(
    ("case_name", "name", "hint"),
    [
        ("gpt-oss-nvfp4", "model.layers.0.mlp.experts.gate_up_proj", INCOMPLETE),
        ("gpt-oss-mxfp4", "model.layers.1.mlp.experts.down_proj_scales", INCOMPLETE),
        ("llama-nvfp4", "lm_head.weight", INCOMPLETE),
        ("llama-nvfp4", "model.layers.0.self_attn.q_proj.weight", INCOMPLETE),
        ("llama-bf16-biases", "model.layers.0.mlp.up_proj.bias", INCOMPLETE),
        ("qwen3-moe-bf16", "model.layers.0.mlp.gate.weight", INCOMPLETE),
        (
            "qwen3-moe-nvfp4",
            "model.layers.0.mlp.experts.3.down_proj.input_scale",
            "The export has no activation scale; calibrate it again with ModelOpt",
        ),
    ],
)
def test_a_missing_tensor(case_name: str, name: str, hint: str) -> None:
    found = Found(case_name)
    del found.tensors[name]
    assert found.error() == f"folder: tensor {name!r} is missing. {hint}"


@pytest.mark.parametrize(
    ("case_name", "name", "hint"),
    [
        (
            "gpt-oss-nvfp4",
            "model.layers.0.mlp.experts.gate_up_proj_scale",
            "Did the export mean 'model.layers.0.mlp.experts.gate_up_proj_input_scale'?",
        ),
        (
            "llama-bf16-tied",
            "lm_head.weight",
            "trtkit knows what ModelOpt exports of LlamaForCausalLM; export the checkpoint again without it",
        ),
        (
            "llama-bf16",
            "zzz",
            "trtkit knows what ModelOpt exports of LlamaForCausalLM; export the checkpoint again without it",
        ),
        (
            "qwen3-moe-bf16",
            "model.layers.0.mlp.experts.4.gate_proj.weight",
            "Did the export mean 'model.layers.0.mlp.experts.3.gate_proj.weight'?",
        ),
    ],
)
def test_an_unknown_tensor(case_name: str, name: str, hint: str) -> None:
    found = Found(case_name)
    found.add(name, "BF16", (320, 64))
    assert found.error() == f"folder/{SHARD}: unknown tensor {name!r}. {hint}"


@pytest.mark.parametrize("layer", [2, "x"])
def test_a_kv_scale_of_no_layer(layer: object) -> None:
    found = Found("gpt-oss-nvfp4")
    name = f"model.layers.{layer}.self_attn.v_proj.v_scale"
    found.add(name, "F32", ())
    assert found.error().startswith(f"folder/{SHARD}: unknown tensor {name!r}. ")


def test_expert_scales_along_out_are_named_as_the_export_defect() -> None:
    found = Found("gpt-oss-nvfp4")
    name = "model.layers.1.mlp.experts.down_proj_weight_scale"
    assert found.tensors[name].shape == (3, 10, 64)
    found.change(name, shape=(3, 160, 4))
    assert found.error() == (
        f"folder/{SHARD}, tensor {name!r}: is F8_E4M3 [3, 160, 4], not F8_E4M3 [3, 10, 64]. "
        "Block scales run along out: the defect of ModelOpt 0.35.0 and 0.35.1; export again with 0.37 or later"
    )


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ((128, 2880, 360), (128, 180, 5760), True),
        ((128, 2880, 180), (128, 180, 2880), True),
        ((128, 180, 5760), (128, 180, 5760), False),
        ((128, 2880, 360), (128, 180, 2880), False),
        ((4096, 180), (4096, 180), False),
    ],
)
def test_is_untransposed(found: tuple[int, ...], wanted: tuple[int, ...], expected: bool) -> None:
    assert is_untransposed(found, wanted) is expected


def test_more_layers_than_tensors() -> None:
    found = Found("gpt-oss-nvfp4")
    assert found.error(replace(found.geometry, layers=3_000_000)) == (
        f"folder: num_hidden_layers is 3000000, but there are 73 tensors in all. {CONFIG}"
    )


def test_more_experts_than_memory_could_list() -> None:
    found = Found("qwen3-moe-bf16")
    geometry = replace(found.geometry, experts=(1 << 31) - 1)
    name = "model.layers.0.mlp.gate.weight"
    expected = f"is BF16 [4, 64], not BF16 [2147483647, 64]. {CONFIG}"
    assert found.error(geometry) == f"folder/{SHARD}, tensor {name!r}: {expected}"
    found.change(name, shape=(geometry.experts, 64))
    missing = "model.layers.0.mlp.experts.4.gate_proj.weight"
    assert found.error(geometry) == f"folder: tensor {missing!r} is missing. {INCOMPLETE}"


def test_layer_types_for_another_number_of_layers() -> None:
    found = Found("gpt-oss-nvfp4")
    assert found.error(replace(found.geometry, windows=(128, None, 128))) == (
        f"folder/config.json: layer_types names 3 layers, but there are 2. {CONFIG}"
    )
