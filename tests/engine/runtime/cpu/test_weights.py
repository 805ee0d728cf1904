"""What can be loaded, and one clear error for each state that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.checkpoint.source import Checkpoint
from toolkit.engine.runtime.cpu.weights import load_weights, read_config
from toolkit.errors import CheckpointError
from toolkit.numerics import bf16, nvfp4
from toolkit.numerics.gpt_oss import Weights

QUERY = "model.layers.1.self_attn.q_proj"
GATE_UP = "model.layers.2.mlp.experts.gate_up_proj"


def load(folder: Path, **choices: Any) -> Weights:
    with Checkpoint.open(folder) as checkpoint:
        config = read_config(checkpoint)
        return load_weights(checkpoint, config, **{"precision": "w4a16", "experts": "dense", **choices})


def test_dense_and_routed_experts_are_the_same_numbers(tiny_folder: Path) -> None:
    dense, routed = load(tiny_folder), load(tiny_folder, experts="routed")
    for one, other in zip(dense.layers, routed.layers, strict=True):
        for expert in range(4):
            np.testing.assert_array_equal(one.experts.gate_up[expert], other.experts.gate_up[expert])
            np.testing.assert_array_equal(one.experts.down[expert], other.experts.down[expert])


def test_expert_matrices_are_outputs_by_inputs(tiny: Any, tiny_folder: Path) -> None:
    codes, scales = (tiny.tensors[f"{GATE_UP}{part}"][1] for part in ("", "_weight_scale"))
    stored = nvfp4.dequantize(codes, scales, float(tiny.tensors[f"{GATE_UP}_weight_scale_2"][1]), axis=-2)
    found = load(tiny_folder).layers[2].experts
    for expert in range(4):
        np.testing.assert_array_equal(found.gate_up[expert], stored[expert].T)
    assert found.gate_up[0].shape == (96, 64)


def test_query_key_and_value_are_one_product(tiny: Any, tiny_folder: Path) -> None:
    layer = load(tiny_folder).layers[1]
    assert [part.weight_OI.shape for part in layer.qkv] == [(160, 64)]
    scale_2 = float(tiny.tensors[f"{QUERY}.weight_scale_2"][1])
    query = nvfp4.dequantize(tiny.tensors[f"{QUERY}.weight"][1], tiny.tensors[f"{QUERY}.weight_scale"][1], scale_2)
    np.testing.assert_array_equal(layer.qkv[0].weight_OI[:96], query)


def test_w4a16_ignores_input_scales_and_w4a4_takes_them(tiny_folder: Path) -> None:
    layer = load(tiny_folder).layers[0]
    assert (layer.qkv[0].input_scale, layer.experts.down_input_scale) == (None, None)
    layer = load(tiny_folder, precision="w4a4").layers[0]
    scales = (layer.qkv[0].input_scale, layer.output.input_scale, layer.router.input_scale)
    assert scales == (pytest.approx(0.0015), pytest.approx(0.0015), None)
    scales = (layer.experts.gate_up_input_scale, layer.experts.down_input_scale)
    assert scales == (pytest.approx(0.0015), pytest.approx(0.0015))


def test_unequal_input_scales_keep_the_projections_apart(tiny: Any, tmp_path: Path) -> None:
    other = {f"{QUERY}.input_scale": ("F32", np.array(0.003, np.float32))}
    folder = tiny.write(tmp_path, tensors=other)
    parts = load(folder, precision="w4a4").layers[1].qkv
    assert [part.input_scale for part in parts] == pytest.approx([0.003, 0.0015, 0.0015])
    assert len(load(folder).layers[1].qkv) == 1


def test_attention_may_be_bf16(tiny: Any, tmp_path: Path) -> None:
    packed = load(tiny.write(tmp_path / "packed")).layers[1]
    query = bf16.from_f32(packed.qkv[0].weight_OI[:96])
    layer = load(tiny.write(tmp_path / "mixed", tensors={f"{QUERY}.weight": ("BF16", query)}), precision="w4a4").layers[
        1
    ]
    assert [part.input_scale for part in layer.qkv] == [None, pytest.approx(0.0015), pytest.approx(0.0015)]
    np.testing.assert_array_equal(layer.qkv[0].weight_OI, bf16.to_f32(query))


def test_tied_embedding(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path, without="lm_head.weight", config={"tie_word_embeddings": True})
    weights = load(folder)
    np.testing.assert_array_equal(weights.head.weight_OI, bf16.to_f32(weights.embedding_VH))


def test_float32_tensors_are_read_as_they_are(tiny: Any, tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((96, 64)).astype(np.float32)
    weights = load(tiny.write(tmp_path, tensors={"model.embed_tokens.weight": ("F32", table)}))
    np.testing.assert_array_equal(weights.embedding_VH, table)


def refusal(folder: Path, **choices: Any) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load(folder, **choices)
    return caught.value


def test_unknown_architecture(tiny: Any, tmp_path: Path) -> None:
    error = refusal(tiny.write(tmp_path, config={"architectures": ["LlamaForCausalLM"]}))
    assert error.what == "architectures is ['LlamaForCausalLM'], which the cpu runtime does not know"
    assert error.where == str(tmp_path / "config.json")


@pytest.mark.parametrize(
    "name",
    [
        "lm_head.weight",
        "model.layers.3.self_attn.sinks",
        "model.layers.0.self_attn.k_proj.bias",
        f"{QUERY}.weight_scale",
        f"{GATE_UP}",
        f"{GATE_UP}_weight_scale",
        f"{GATE_UP}_weight_scale_2",
        f"{GATE_UP}_bias",
    ],
)
def test_missing_tensor(tiny: Any, tmp_path: Path, name: str) -> None:
    error = refusal(tiny.write(tmp_path, without=name))
    assert (error.what, error.where) == (f"tensor {name!r} is missing", str(tmp_path))


def test_missing_input_scale_matters_to_w4a4_alone(tiny: Any, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path, without=f"{GATE_UP}_input_scale")
    load(folder)
    error = refusal(folder, precision="w4a4")
    assert error.what == f"tensor '{GATE_UP}_input_scale' is missing"
    assert error.hint is not None
    assert "engine.precision=w4a16" in error.hint


def test_expert_scales_of_modelopt_035(tiny: Any, tmp_path: Path) -> None:
    defect = np.full((4, 64, 96 // 16), 0x38, np.uint8)
    error = refusal(tiny.write(tmp_path, tensors={f"{GATE_UP}_weight_scale": ("F8_E4M3", defect)}))
    assert error.what == (
        "expert block scales are [4, 64, 6], along the outputs, but must be [4, 4, 96]: "
        "the export defect of ModelOpt 0.35.x"
    )
    assert error.where == f"{tmp_path / 'model.safetensors'}, tensor '{GATE_UP}_weight_scale'"


@pytest.mark.parametrize("byte", [0x7F, 0xFF])
@pytest.mark.parametrize("name", [f"{QUERY}.weight_scale", f"{GATE_UP}_weight_scale"])
def test_nan_scale_byte_is_found_in_the_file(tiny: Any, tmp_path: Path, name: str, byte: int) -> None:
    scales = tiny.tensors[name][1].copy()
    scales.flat[[37, 90]] = byte
    error = refusal(tiny.write(tmp_path, tensors={name: ("F8_E4M3", scales)}))
    assert error.where == f"{tmp_path / 'model.safetensors'}, tensor {name!r}"
    count, _, offset = error.what.partition(" block scale(s) are NaN, the first is ")
    assert count == "2"
    at = int(offset.rpartition(" ")[2])
    data = (tmp_path / "model.safetensors").read_bytes()
    assert data[at] == byte
    assert data[at - 37 : at + scales.size - 37] == scales.tobytes()


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize(
    "name", [f"{QUERY}.weight_scale_2", f"{QUERY}.input_scale", f"{GATE_UP}_weight_scale_2", f"{GATE_UP}_input_scale"]
)
def test_scalar_scales_are_finite_and_positive(tiny: Any, tmp_path: Path, name: str, value: float) -> None:
    error = refusal(tiny.write(tmp_path, tensors={name: ("F32", np.array(value, np.float32))}))
    assert error.what == f"is {value}, but must be finite and above 0"
    assert error.where == f"{tmp_path / 'model.safetensors'}, tensor {name!r}"


@pytest.mark.parametrize(
    ("name", "dtype", "array", "what"),
    [
        ("model.norm.weight", "BF16", np.zeros(65, np.uint16), "shape is [65], but must be [64]"),
        ("model.embed_tokens.weight", "BF16", np.zeros((64, 96), np.uint16), "shape is [64, 96], but must be [96, 64]"),
        ("model.norm.weight", "U8", np.zeros(64, np.uint8), "dtype is U8, but must be BF16, F16, F32"),
        (f"{QUERY}.weight", "F8_E4M3", np.zeros((96, 64), np.uint8), "dtype is F8_E4M3, but must be U8 (NVFP4)"),
        (f"{QUERY}.weight", "U8", np.zeros((96, 16), np.uint8), "shape is [96, 16], but must be [96, 32]"),
        (f"{QUERY}.weight_scale", "U8", np.zeros((96, 4), np.uint8), "dtype is U8, but must be F8_E4M3"),
        (f"{QUERY}.weight_scale_2", "F32", np.ones(2, np.float32), "must be one F32 value"),
        (GATE_UP, "U8", np.zeros((4, 96, 32), np.uint8), "shape is [4, 96, 32], but must be [4, 32, 96]"),
    ],
)
def test_misshapen_tensor(tiny: Any, tmp_path: Path, name: str, dtype: str, array: np.ndarray, what: str) -> None:
    error = refusal(tiny.write(tmp_path, tensors={name: (dtype, array)}))
    assert error.what.startswith(what)
    assert error.where == f"{tmp_path / 'model.safetensors'}, tensor {name!r}"


def test_w4a4_needs_an_nvfp4_checkpoint(shared_fixtures: Path) -> None:
    error = refusal(shared_fixtures / "tiny-gpt-oss-bf16", precision="w4a4")
    assert error.what == "w4a4 needs NVFP4 weights, but none are here"


def test_the_llama_fixture_is_refused(shared_fixtures: Path) -> None:
    assert "which the cpu runtime does not know" in refusal(shared_fixtures / "tiny-llama-nvfp4-modelopt-0.37").what
