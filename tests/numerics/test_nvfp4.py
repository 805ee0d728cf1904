"""NVFP4 against ModelOpt's own bytes, an explicit formula, and ModelOpt itself where it is installed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.numerics import bf16, fp8, nvfp4

MAGNITUDE = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
EXPORTS = [
    ("tiny-gpt-oss-nvfp4-modelopt-0.37", "tiny-gpt-oss-bf16", 12),
    ("tiny-gpt-oss-nvfp4-mlponly-modelopt-0.37", "tiny-gpt-oss-bf16", 4),
    ("tiny-llama-nvfp4-modelopt-0.37", "tiny-llama-bf16", 14),
]
Axis = Literal[-1, -2]


class Export(NamedTuple):
    """What ModelOpt wrote, what it wrote it from, and how many weights it quantised."""

    theirs: Checkpoint
    original: Checkpoint
    count: int


@pytest.fixture(params=["committed sample", *EXPORTS], ids=lambda param: param if isinstance(param, str) else param[0])
def export(request: pytest.FixtureRequest, sample: Path) -> Iterator[Export]:
    """The sample is always here; further exports are where they stand beside the checkout."""
    if isinstance(request.param, str):
        folders, count = (sample, sample.parent / "bf16"), 36
    else:
        shared: Path = request.getfixturevalue("shared_fixtures")
        folders, count = (shared / request.param[0], shared / request.param[1]), request.param[2]
    with Checkpoint.open(folders[0]) as theirs, Checkpoint.open(folders[1]) as original:
        yield Export(theirs, original, count)


def e4m3(byte: int) -> np.float32:
    """From the definition of the format, not from a table."""
    exponent, mantissa = byte >> 3 & 15, byte & 7
    if byte & 0x7F == 0x7F:
        return np.float32(np.nan)
    value = mantissa * 2.0**-9 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return np.float32(-value if byte & 0x80 else value)


def e2m1(code: int) -> np.float32:
    """Code 8 is +0.0, as in ModelOpt's table."""
    return np.float32(-MAGNITUDE[code & 7] if code > 8 else MAGNITUDE[code & 7])


def decode_one(byte: int, high: bool, scale: int, global_scale: float) -> np.float32:
    with np.errstate(all="ignore"):
        return e2m1(byte >> 4 if high else byte & 15) * (e4m3(scale) * np.float32(global_scale))


def decode_by_loop(packed: np.ndarray, scale: np.ndarray, global_scale: float) -> np.ndarray:
    """K last, one value at a time."""
    out = np.empty((*packed.shape[:-1], packed.shape[-1] * 2), np.float32)
    for position in np.ndindex(out.shape):
        *lead, k = position
        byte, block_scale = packed[(*lead, k // 2)], scale[(*lead, k // 16)]
        out[position] = decode_one(int(byte), k % 2 == 1, int(block_scale), global_scale)
    return out


def decode_arithmetically(packed: np.ndarray, scale: np.ndarray, global_scale: float) -> np.ndarray:
    """K last, whole arrays, without a table of pairs: for tensors too large for the loop."""
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)
    values = np.array([e2m1(code) for code in range(16)])[codes]
    block_scale = np.array([e4m3(byte) for byte in range(256)])[scale] * np.float32(global_scale)
    return values * np.repeat(block_scale, 16, axis=-1)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Bit for bit, except that any NaN equals any NaN."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), nan)
    np.testing.assert_array_equal(actual[~nan].view(np.uint32), expected[~nan].view(np.uint32))


def random_tensor(seed: int, *lead: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (*lead, k // 2), dtype=np.uint8),
        rng.integers(0, 256, (*lead, k // 16), dtype=np.uint8),
    )


def swap(*tensors: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(tensor.swapaxes(-1, -2)) for tensor in tensors]


def quantised(export: Checkpoint) -> Iterator[tuple[str, str, Axis]]:
    """(weight, block scale, packed axis): Linears have dot suffixes, fused experts underscores."""
    for name in export.tensors:
        if name.endswith(".weight_scale"):
            yield name.removesuffix("_scale"), name, -1
        elif name.endswith("_weight_scale"):
            yield name.removesuffix("_weight_scale"), name, -2


# Decoding


@pytest.mark.parametrize("axis", [-1, -2])
def test_all_codes_times_all_scales(axis: Axis) -> None:
    """256 blocks, one a scale byte; every block holds every code in both nibbles."""
    packed = np.tile(np.arange(16, dtype=np.uint8) * 17, (256, 1))
    scale = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 2, axis=1)
    expected = decode_by_loop(packed, scale, 0.0123)
    if axis == -2:
        packed, scale, expected = swap(packed, scale, expected)
    assert_same_bits(nvfp4.dequantize(packed, scale, 0.0123, axis=axis), expected)


@pytest.mark.parametrize("axis", [-1, -2])
def test_all_packed_bytes(axis: Axis) -> None:
    """The low nibble is the even element of K."""
    packed = np.arange(256, dtype=np.uint8).reshape(4, 64)
    scale = np.full((4, 8), 0x38, np.uint8)
    expected = decode_by_loop(packed, scale, 1.0)
    assert expected[0, :4].tolist() == [0, 0, 0.5, 0]
    if axis == -2:
        packed, scale, expected = swap(packed, scale, expected)
    assert_same_bits(nvfp4.dequantize(packed, scale, 1.0, axis=axis), expected)


@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 3), max_size=2),
    st.integers(0, 4),
    st.integers(0, 5),
    st.one_of(st.floats(width=32), st.floats(2.0**-30, 1, width=32)),
)
@settings(max_examples=60)
def test_any_tensor_on_both_axes(seed: int, lead: list[int], rows: int, blocks: int, global_scale: float) -> None:
    packed, scale = random_tensor(seed, *lead, rows, k=16 * blocks)
    expected = decode_by_loop(packed, scale, global_scale)
    assert_same_bits(nvfp4.dequantize(packed, scale, global_scale), expected)
    assert_same_bits(nvfp4.dequantize(*swap(packed, scale), global_scale, axis=-2), swap(expected)[0])


@pytest.mark.parametrize("shape", [(1400, 208), (3, 100, 1024), (1, 2, 300_000)])
@pytest.mark.parametrize("axis", [-1, -2])
def test_tensors_larger_than_a_working_block(shape: tuple[int, ...], axis: Axis) -> None:
    """More than one block of scratch, the last one not full."""
    packed, scale = random_tensor(1, *shape[:-1], k=shape[-1])
    expected = decode_arithmetically(packed, scale, 3e-4)
    if axis == -2:
        packed, scale, expected = swap(packed, scale, expected)
    assert_same_bits(nvfp4.dequantize(packed, scale, 3e-4, axis=axis), expected)


@pytest.mark.parametrize("axis", [-1, -2])
def test_bfloat16_is_the_rounded_float32(axis: Axis) -> None:
    packed, scale = random_tensor(2, 40, k=2048)
    scale[scale & 0x7F == 0x7F] = 0
    if axis == -2:
        packed, scale = swap(packed, scale)
    exact = nvfp4.dequantize(packed, scale, 1.7e-4, axis=axis)
    rounded = nvfp4.dequantize(packed, scale, 1.7e-4, axis=axis, dtype="bfloat16")
    assert rounded.dtype == np.uint16
    np.testing.assert_array_equal(rounded, exact.astype(ml_dtypes.bfloat16).view(np.uint16))


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_out(axis: Axis, dtype: Literal["float32", "bfloat16"]) -> None:
    packed, scale = random_tensor(3, 2, 16, k=256)
    if axis == -2:
        packed, scale = swap(packed, scale)
    expected = nvfp4.dequantize(packed, scale, 0.01, axis=axis, dtype=dtype)
    memory = np.zeros(expected.size + 1, expected.dtype)
    out = memory[1:].reshape(expected.shape)  # not aligned to a pair of values
    assert nvfp4.dequantize(packed, scale, 0.01, axis=axis, dtype=dtype, out=out) is out
    np.testing.assert_array_equal(out.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize(
    "out", [np.empty((2, 32), np.float64), np.empty((32, 2), np.float32), np.empty((2, 64), np.float32)[:, ::2]]
)
def test_out_that_does_not_fit(out: np.ndarray) -> None:
    packed, scale = random_tensor(4, 2, k=32)
    with pytest.raises(ValueError, match=r"^out must be a C-contiguous float32 array of shape \(2, 32\)$"):
        nvfp4.dequantize(packed, scale, 1.0, out=out)


def test_inputs_need_not_be_contiguous() -> None:
    packed, scale = random_tensor(5, 32, k=64)
    expected = swap(decode_by_loop(packed, scale, 0.5))[0]
    assert_same_bits(nvfp4.dequantize(packed.T, scale.T, 0.5, axis=-2), expected)


def test_code_8_is_positive_zero() -> None:
    assert nvfp4.E2M1.tolist() == [*MAGNITUDE, *(-value for value in MAGNITUDE)]
    assert np.flatnonzero(np.signbit(nvfp4.E2M1)).tolist() == list(range(9, 16))
    zeros = nvfp4.dequantize(np.full((1, 8), 0x88, np.uint8), np.array([[0x38]], np.uint8), 1.0)
    assert not np.signbit(zeros).any()


@pytest.mark.parametrize(
    ("packed", "scale", "axis", "expected"),
    [
        ((4, 32, 192), (4, 64, 12), -2, [4, 4, 192]),  # ModelOpt 0.35: block maxima along the wrong axis
        ((4, 32, 192), (4, 192, 4), -2, [4, 4, 192]),
        ((128, 32), (128, 8), -1, [128, 4]),
        ((128, 30), (128, 3), -1, [128, 3]),
        ((128, 32), (4, 128), -1, [128, 4]),
    ],
)
def test_scales_that_do_not_fit(
    packed: tuple[int, ...], scale: tuple[int, ...], axis: Axis, expected: list[int]
) -> None:
    with pytest.raises(CheckpointError) as caught:
        nvfp4.dequantize(np.zeros(packed, np.uint8), np.zeros(scale, np.uint8), 1.0, axis=axis)
    assert str(caught.value) == (
        f"NVFP4 block scales of shape {list(scale)} do not fit packed weights of shape {list(packed)}: "
        f"one scale for 8 bytes along axis {axis} would be {expected}"
    )


# Encoding


def test_quantising_the_source_gives_modelopts_bytes(export: Export) -> None:
    theirs, original, count = export
    compared = 0
    for weight, block_scale, axis in quantised(theirs):
        global_scale = float(theirs.array(f"{block_scale}_2"))
        values = bf16.to_f32(original.array(weight))
        packed, scale, returned = nvfp4.quantize(values, axis=axis, global_scale=global_scale)
        np.testing.assert_array_equal(packed, theirs.array(weight))
        np.testing.assert_array_equal(scale, theirs.array(block_scale))
        assert returned == np.float32(global_scale)
        compared += 1
    assert compared == count


@pytest.mark.parametrize("export", ["committed sample", EXPORTS[0]], indirect=True, ids=["sample", "shared"])
def test_global_scale_of_the_experts(export: Export) -> None:
    """Experts and o_proj are not in a fused group, so their tensor scale is their own amax / 2688."""
    theirs, original, count = export
    alone = [item for item in quantised(theirs) if ".experts." in item[0] or "o_proj" in item[0]]
    assert len(alone) == count // 2
    for weight, block_scale, axis in alone:
        packed, scale, global_scale = nvfp4.quantize(bf16.to_f32(original.array(weight)), axis=axis)
        assert global_scale == theirs.array(f"{block_scale}_2")
        np.testing.assert_array_equal(packed, theirs.array(weight))
        np.testing.assert_array_equal(scale, theirs.array(block_scale))


def test_decoding_modelopts_bytes(export: Export) -> None:
    theirs = export.theirs
    for weight, block_scale, axis in quantised(theirs):
        packed, scale = theirs.array(weight), theirs.array(block_scale)
        global_scale = float(theirs.array(f"{block_scale}_2"))
        actual = nvfp4.dequantize(packed, scale, global_scale, axis=axis)
        k_last = swap(packed, scale) if axis == -2 else (packed, scale)
        expected = decode_arithmetically(*k_last, global_scale)
        assert_same_bits(actual, swap(expected)[0] if axis == -2 else expected)


def nearest_code(value: float) -> int:
    """The nearest of the 8 magnitudes, the even code on a tie; sign only of what is below zero."""
    distance = [abs(abs(value) - magnitude) for magnitude in MAGNITUDE]
    code = min(range(8), key=lambda code: (distance[code], code & 1))
    return code | 8 if value < 0 else code


def codes_of(values: list[float]) -> list[int]:
    """Codes at block scale 1.0 and tensor scale 1.0: a 6 in the block fixes the former."""
    block = np.array([*values, *[0.0] * (15 - len(values)), 6.0], np.float32)[None]
    packed, scale, _ = nvfp4.quantize(block, global_scale=1.0)
    assert scale.tolist() == [[0x38]]
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)
    return codes[: len(values)].tolist()


def test_ties_go_to_the_even_code() -> None:
    assert codes_of([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]) == [0, 2, 2, 4, 4, 6, 6]
    assert codes_of([-0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5.0]) == [8, 10, 10, 12, 12, 14, 14]


@given(st.lists(st.floats(-6, 6, width=32), min_size=1, max_size=15))
def test_codes_are_the_nearest(values: list[float]) -> None:
    assert codes_of(values) == [nearest_code(value) for value in values]


def test_signs_of_zero() -> None:
    assert codes_of([0.0, -0.0, -1e-30, -0.2, 0.2]) == [0, 0, 8, 8, 0]


def test_nan_and_infinity_saturate() -> None:
    values = np.array([[np.inf, -np.inf, *[0.0] * 14], [np.nan, -1.0, *[0.0] * 14]], np.float32)
    packed, scale, _ = nvfp4.quantize(values, global_scale=1.0)
    assert scale.tolist() == [[0x7E], [0x7F]]
    assert packed[:, 0].tolist() == [0xF7, 0x77]


def test_block_of_zeros() -> None:
    values = np.zeros((2, 32), np.float32)
    values[0, :16] = -0.0
    values[1, 5] = 1.0
    packed, scale, _ = nvfp4.quantize(values)
    assert scale[0].tolist() == [0x38, 0x38]
    assert scale[1, 1] == 0x38
    assert not packed[0].any()


def test_block_too_small_for_its_scale() -> None:
    """ModelOpt up to 0.44: scale byte 0; x / 0 makes positives and zeros code 7, negatives code 15."""
    values = np.zeros((1, 32), np.float32)
    values[0, :4] = [1e-9, -1e-9, 0.0, -0.0]
    values[0, 16] = 1.0
    packed, scale, global_scale = nvfp4.quantize(values)
    assert scale[0].tolist() == [0x00, 0x7E]
    assert packed[0, :2].tolist() == [0xF7, 0x77]
    assert not nvfp4.dequantize(packed, scale, float(global_scale))[0, :16].any()


def test_tensor_of_zeros() -> None:
    packed, scale, global_scale = nvfp4.quantize(np.zeros((1, 16), np.float32))
    assert global_scale == 0
    assert scale[0, 0] & 0x7F == 0x7F
    assert packed.tolist() == [[0x77] * 8]
    assert np.isnan(nvfp4.dequantize(packed, scale, float(global_scale))).all()


def test_foreign_global_scale_saturates_the_block_scale() -> None:
    _, scale, _ = nvfp4.quantize(np.full((1, 16), 1000.0, np.float32), global_scale=0.1)
    assert scale.tolist() == [[0x7E]]


def test_quantising_by_columns_is_quantising_the_transpose() -> None:
    values = np.random.default_rng(7).standard_normal((3, 64, 24)).astype(np.float32)
    by_rows = nvfp4.quantize(values.swapaxes(-1, -2))
    by_columns = nvfp4.quantize(values, axis=-2)
    assert by_columns[2] == by_rows[2]
    for actual, expected in zip(by_columns[:2], swap(*by_rows[:2]), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_quantising_more_than_a_working_block() -> None:
    values = np.random.default_rng(8).standard_normal((20, 16_384)).astype(np.float32)
    packed, scale, global_scale = nvfp4.quantize(values)
    for row in (0, 13, 19):
        alone = nvfp4.quantize(values[row], global_scale=float(global_scale))
        np.testing.assert_array_equal(packed[row], alone[0])
        np.testing.assert_array_equal(scale[row], alone[1])


@given(arrays(np.float32, (3, 32), elements=st.floats(-1e4, 1e4, width=32)))
def test_what_was_decoded_encodes_to_the_same_values(values: np.ndarray) -> None:
    """With the tensor scale given, a second pass changes no value that the first one kept."""
    packed, scale, global_scale = nvfp4.quantize(values + np.float32(1e4))
    first = nvfp4.dequantize(packed, scale, float(global_scale))
    again = nvfp4.dequantize(*nvfp4.quantize(first, global_scale=float(global_scale))[:2], float(global_scale))
    np.testing.assert_array_equal(first, again)


@given(arrays(np.float32, (2, 48), elements=st.floats(-100, 100, width=32)))
def test_error_is_at_most_half_a_step(values: np.ndarray) -> None:
    """The widest gap of E2M1 is 2 (4 to 6); E4M3 rounds the block scale by at most 1/16, so 6 may be short by that."""
    values[0, 0] = 100.0
    packed, scale, global_scale = nvfp4.quantize(values)
    step = np.repeat(fp8.decode_e4m3(scale) * global_scale, 16, axis=-1)
    error = np.abs(nvfp4.dequantize(packed, scale, float(global_scale)) - values)
    tiny = np.repeat(scale == 0, 16, axis=-1)  # underflowed blocks decode to zero
    assert (error[~tiny] <= 1.0001 * step[~tiny] + 1e-6).all()
    assert (error[tiny] <= 6 * 2.0**-10 * global_scale).all()


def test_quantising_needs_whole_blocks() -> None:
    with pytest.raises(CheckpointError) as caught:
        nvfp4.quantize(np.zeros((2, 20), np.float32))
    assert str(caught.value) == "axis -1 of shape [2, 20] is not a multiple of 16"


# Activations


def test_fake_quantising_is_encoding_and_decoding() -> None:
    rng = np.random.default_rng(9)
    values = (rng.standard_normal((5, 7, 96)) * np.exp2(rng.integers(-8, 4, (5, 7, 1)))).astype(np.float32)
    values[0, 0, :16] = 0
    for input_scale in (0.002, 1.0, 1e-6):
        packed, scale, _ = nvfp4.quantize(values, global_scale=input_scale)
        expected = nvfp4.dequantize(packed, scale, input_scale)
        assert_same_bits(nvfp4.fake_quantize_activation(values, input_scale), expected)


def test_fake_quantising_one_block() -> None:
    values = np.array([[6.0, -3.1, 0.3, 0.2, -0.2, *[0.0] * 11]], np.float32)
    expected = np.array([[6.0, -3.0, 0.5, 0.0, 0.0, *[0.0] * 11]], np.float32)
    assert_same_bits(nvfp4.fake_quantize_activation(values, 1.0), expected)


def test_fake_quantising_needs_whole_blocks() -> None:
    with pytest.raises(CheckpointError) as caught:
        nvfp4.fake_quantize_activation(np.zeros((3, 17), np.float32), 1.0)
    assert str(caught.value) == "the last axis of shape [3, 17] is not a multiple of 16"


# ModelOpt itself


@pytest.fixture(scope="module")
def modelopt() -> Any:
    """(torch, NVFP4QTensor) of the installed ModelOpt."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("modelopt.torch.quantization")
    from modelopt.torch.quantization.qtensor import NVFP4QTensor, nvfp4_tensor

    nvfp4_tensor.fp4_compatible = lambda: False  # asks CUDA, and gates only an optional TensorRT-LLM path
    return torch, NVFP4QTensor


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(4))
def test_modelopt_writes_the_same_bytes(modelopt: Any, seed: int) -> None:
    torch, qtensor = modelopt
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((64, 256)) * np.exp2(rng.integers(-30, 3, (64, 16)).repeat(16, axis=1))).astype(
        np.float32
    )
    values[:4, :16] = 0
    values[4:8] = np.round(values[4:8] * 4) / 4  # ties
    tensor, scale, global_scale = qtensor.quantize(torch.from_numpy(values.copy()), 16)
    packed, our_scale, our_global_scale = nvfp4.quantize(values)
    np.testing.assert_array_equal(packed, tensor._quantized_data.numpy())
    np.testing.assert_array_equal(our_scale, scale.view(torch.uint8).numpy())
    assert our_global_scale == global_scale.item()


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_modelopt_decodes_the_same_values(modelopt: Any, dtype: Literal["float32", "bfloat16"]) -> None:
    torch, qtensor = modelopt
    packed, scale = random_tensor(11, 64, k=1024)
    global_scale = math.pi * 1e-4
    target = getattr(torch, dtype)
    theirs = qtensor(torch.Size((64, 1024)), target, torch.from_numpy(packed)).dequantize(
        dtype=target,
        scale=torch.from_numpy(scale).view(torch.float8_e4m3fn),
        double_scale=torch.tensor(global_scale, dtype=torch.float32),
        block_sizes={-1: 16},
    )
    ours = nvfp4.dequantize(packed, scale, global_scale, dtype=dtype)
    as_f32 = bf16.to_f32(ours) if dtype == "bfloat16" else ours
    assert_same_bits(as_f32, theirs.float().numpy())
