"""Scalars as they are stored, and the scales that are refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import write_checkpoint
from toolkit.checkpoint.scales import check_scales, read_block_scales, read_scalar_scale, read_scalars
from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError

SCALARS = {"zero": 0.0, "negative": -2.5, "infinite": math.inf, "small": 2.0**-149}


def test_every_f32_of_one_element_and_nothing_else(tmp_path: Path) -> None:
    tensors = {name: ("F32", np.array(value, "<f4")) for name, value in SCALARS.items()}
    others = {
        "one.element": ("F32", np.array([[7.0]], "<f4")),
        "nan": ("F32", np.array(math.nan, "<f4")),
        "vector": ("F32", np.zeros(2, "<f4")),
        "empty": ("F32", np.zeros(0, "<f4")),
        "bf16": ("BF16", np.zeros((), "<u2")),
        "f64": ("F64", np.zeros((), "<f8")),
    }
    folder = write_checkpoint(tmp_path, {"model.safetensors": {**tensors, **others}})
    with Checkpoint.open(folder) as checkpoint:
        scalars = read_scalars(checkpoint)
    assert math.isnan(scalars.pop("nan"))
    assert scalars == {**SCALARS, "one.element": 7.0}
    assert {type(value) for value in scalars.values()} == {float}


def test_a_modelopt_export(shared_fixtures: Path) -> None:
    """Facts: q, k and v share one scale; of the experts there is one scalar for all."""
    with Checkpoint.open(shared_fixtures / "tiny-gpt-oss-nvfp4-sharded-modelopt-0.37") as checkpoint:
        scalars = read_scalars(checkpoint)
    layers = 2
    assert len(scalars) == layers * 2 * (4 + 2)  # weight_scale_2 and input_scale of q, k, v, o and two expert tensors
    for layer in range(layers):
        prefix = f"model.layers.{layer}.self_attn"
        assert len({scalars[f"{prefix}.{name}_proj.weight_scale_2"] for name in "qkv"}) == 1
    assert all(0 < value < math.inf for value in scalars.values())


def test_a_shard_that_has_become_shorter(tmp_path: Path) -> None:
    tensors = {name: ("F32", np.array(1.0, "<f4")) for name in ("a", "b")}
    path = write_checkpoint(tmp_path, {"model.safetensors": tensors}) / "model.safetensors"
    with Checkpoint.open(tmp_path) as checkpoint:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(CheckpointError) as caught:
            read_scalars(checkpoint)
    what = "the file has become shorter since its header was read. Copy or download this file again"
    assert str(caught.value) == f"{path}, tensor 'b': {what}"


def open_one(folder: Path, name: str, dtype: str, array: np.ndarray) -> Checkpoint:
    """``name`` after one byte of another tensor."""
    before = ("U8", np.zeros(1, np.uint8))
    return Checkpoint.open(write_checkpoint(folder, {"model.safetensors": {"before": before, name: (dtype, array)}}))


def test_block_scales_are_their_bytes(tmp_path: Path) -> None:
    """All codes but the two of NaN: zeros, subnormals and the largest, 0x7E, of either sign."""
    codes = np.array([code for code in range(256) if code not in (0x7F, 0xFF)], np.uint8).reshape(2, 127)
    with open_one(tmp_path, "w.weight_scale", "F8_E4M3", codes) as checkpoint:
        np.testing.assert_array_equal(read_block_scales(checkpoint, "w.weight_scale"), codes)


@pytest.mark.parametrize("nan", [0x7F, 0xFF])
def test_block_scales_that_are_nan(tmp_path: Path, nan: int) -> None:
    codes = np.full((2, 3), 0x38, np.uint8)
    codes[1, 0] = codes[1, 2] = nan
    with open_one(tmp_path, "w.weight_scale", "F8_E4M3", codes) as checkpoint:
        path = tmp_path / "model.safetensors"
        byte = path.read_bytes().rindex(bytes([0x38] * 3)) + 3
        for check in (read_block_scales, check_scales):
            with pytest.raises(CheckpointError) as caught:
                check(checkpoint, "w.weight_scale")
            what = f"2 block scale(s) are NaN, the first is {nan:#04x} at byte {byte}"
            hint = "Quantise the model again, or fetch the file again"
            assert str(caught.value) == f"{path}, tensor 'w.weight_scale': {what}. {hint}"


def test_block_scales_of_another_type(tmp_path: Path) -> None:
    with open_one(tmp_path, "w.weight_scale", "U8", np.zeros(2, np.uint8)) as checkpoint:
        with pytest.raises(CheckpointError) as caught:
            read_block_scales(checkpoint, "w.weight_scale")
        check_scales(checkpoint, "w.weight_scale")  # MXFP4's, of which every code but one is a number
    where = f"{tmp_path / 'model.safetensors'}, tensor 'w.weight_scale'"
    assert str(caught.value) == f"{where}: dtype is U8, but must be F8_E4M3"


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_scalar_scale(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for value in (2.0**-149, 0.25, 3.4e38):
        array = np.full(shape, value, "<f4")
        with open_one(tmp_path, "w.input_scale", "F32", array) as checkpoint:
            assert read_scalar_scale(checkpoint, "w.input_scale") == float(np.float32(value))


@pytest.mark.parametrize("name", ["w.input_scale", "w.weight_scale_2"])
@pytest.mark.parametrize("value", [0.0, -0.0, -1.5, math.inf, -math.inf, math.nan])
def test_a_scalar_scale_that_no_quantiser_writes(tmp_path: Path, name: str, value: float) -> None:
    with open_one(tmp_path, name, "F32", np.array(value, "<f4")) as checkpoint:
        for check in (read_scalar_scale, check_scales):
            with pytest.raises(CheckpointError) as caught:
                check(checkpoint, name)
            what = f"is {value}, but must be finite and above 0. Quantise the model again with calibration data"
            assert str(caught.value) == f"{tmp_path / 'model.safetensors'}, tensor '{name}': {what}"


@pytest.mark.parametrize(
    ("dtype", "array"), [("F32", np.ones(2, "<f4")), ("F32", np.ones(0, "<f4")), ("F64", np.ones(()))]
)
def test_a_scalar_scale_of_another_type_or_size(tmp_path: Path, dtype: str, array: np.ndarray) -> None:
    with open_one(tmp_path, "w.input_scale", dtype, array) as checkpoint, pytest.raises(CheckpointError) as caught:
        read_scalar_scale(checkpoint, "w.input_scale")
    assert str(caught.value) == f"{tmp_path / 'model.safetensors'}, tensor 'w.input_scale': must be one F32 value"


def test_what_is_no_scale_is_not_checked(tmp_path: Path) -> None:
    with open_one(tmp_path, "w.weight", "F32", np.array(math.nan, "<f4")) as checkpoint:
        check_scales(checkpoint, "w.weight")
