"""MXFP4 against an explicit formula, and against ModelOpt and transformers where they are installed."""

from __future__ import annotations

from typing import Any, Literal

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from toolkit.errors import CheckpointError
from toolkit.numerics import bf16, mxfp4

MAGNITUDE = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def decode_by_loop(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    out = np.empty((*scales.shape, 32), np.float32)
    for position in np.ndindex(out.shape):
        *block, k = position
        byte, scale = int(blocks[(*block, k // 2)]), int(scales[tuple(block)])
        code = byte >> 4 if k % 2 else byte & 15
        magnitude = MAGNITUDE[code & 7] * (2.0 ** (scale - 127) if scale < 255 else np.nan)
        with np.errstate(over="ignore"):
            out[position] = np.copysign(np.float32(magnitude), -1 if code & 8 else 1)
    return out.reshape(*scales.shape[:-1], scales.shape[-1] * 32)


def random_tensor(seed: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 16), dtype=np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)


def test_all_codes_times_all_scales() -> None:
    scales = np.arange(256, dtype=np.uint8)[:, None]
    blocks = np.tile(np.arange(16, dtype=np.uint8) * 17, (256, 1, 1))
    actual, expected = mxfp4.dequantize(blocks, scales), decode_by_loop(blocks, scales)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.signbit(actual[:255]), np.signbit(expected[:255]))
    assert np.isnan(actual[255]).all()


@given(st.integers(0, 2**32), st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_any_tensor(seed: int, shape: list[int]) -> None:
    blocks, scales = random_tensor(seed, *shape)
    np.testing.assert_array_equal(mxfp4.dequantize(blocks, scales), decode_by_loop(blocks, scales))


def test_a_tensor_larger_than_a_working_block() -> None:
    blocks, scales = random_tensor(1, 3, 3001)
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(3, 3001, 32)
    sign = np.where(codes & 8, -1, 1)
    with np.errstate(over="ignore"):
        expected = np.ldexp(np.array(MAGNITUDE)[codes & 7] * sign, scales[..., None].astype(int) - 127).astype(
            np.float32
        )
    expected[scales == 255] = np.nan
    np.testing.assert_array_equal(mxfp4.dequantize(blocks, scales), expected.reshape(3, -1))


def test_bfloat16_is_exact_in_range() -> None:
    blocks, scales = random_tensor(2, 4, 3)
    scales = scales // 2 + 50
    exact = mxfp4.dequantize(blocks, scales)
    bits = mxfp4.dequantize(blocks, scales, "bfloat16")
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(bits, exact.astype(ml_dtypes.bfloat16).view(np.uint16))
    np.testing.assert_array_equal(bf16.to_f32(bits), exact)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(CheckpointError) as caught:
        mxfp4.dequantize(np.zeros((4, 3, 16), np.uint8), np.zeros((4, 2), np.uint8))
    assert str(caught.value) == (
        "MXFP4 scales of shape [4, 2] do not fit blocks of shape [4, 3, 16]: blocks would be [4, 2, 16]"
    )


def test_quantising_known_blocks() -> None:
    values = np.zeros((4, 32), np.float32)
    values[0, :6] = [6.0, -4.0, 0.25, 0.26, -0.5, 5.0]
    values[1, 0] = 6.01
    values[2, :2] = [np.nan, 1.0]
    blocks, scales = mxfp4.quantize(values)
    assert scales.tolist() == [[127], [128], [255], [0]]
    assert blocks[0, 0].tolist() == [0xE7, 0x10, 0x69, *[0x88] * 13]
    assert blocks[3].tolist() == [[0x88] * 16]


@given(arrays(np.float32, (2, 64), elements=st.floats(-1e5, 1e5, width=32)))
def test_quantising_never_saturates(values: np.ndarray) -> None:
    """The block's power of two is the least that covers amax with 6, so the error is at most half the widest gap."""
    blocks, scales = mxfp4.quantize(values)
    power = np.exp2(scales.astype(np.float64) - 127).repeat(32, axis=-1)
    amax = np.abs(values).reshape(2, 2, 32).max(axis=-1).repeat(32, axis=-1)
    assert (amax <= 6 * power * (1 + 1e-6)).all()
    assert ((amax > 3 * power * (1 - 1e-6)) | (scales.repeat(32, axis=-1) == 0)).all()
    assert (np.abs(mxfp4.dequantize(blocks, scales) - values) <= power * (1 + 1e-6)).all()


@given(st.integers(0, 2**32), st.integers(20, 200))
def test_decoded_values_encode_to_themselves(seed: int, exponent: int) -> None:
    """Holds for blocks that use 4 or 6; blocks of small codes may move to a smaller power of two, value unchanged."""
    blocks, _ = random_tensor(seed, 3, 2)
    values = mxfp4.dequantize(blocks, np.full((3, 2), exponent, np.uint8))
    np.testing.assert_array_equal(mxfp4.dequantize(*mxfp4.quantize(values)), values)


def test_quantising_needs_whole_blocks() -> None:
    with pytest.raises(CheckpointError) as caught:
        mxfp4.quantize(np.zeros((2, 48), np.float32))
    assert str(caught.value) == "the last axis of shape [2, 48] is not a multiple of 32"


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(4))
def test_modelopt_writes_the_same_bytes(torch: Any, seed: int) -> None:
    pytest.importorskip("modelopt.torch.quantization")
    from modelopt.torch.quantization.qtensor import MXFP4QTensor

    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((64, 256)) * np.exp2(rng.integers(-30, 9, (64, 1)))).astype(np.float32)
    values[0, :32] = 0
    values[1] = np.round(values[1] * 4) / 4
    values[2:, ::32] = 6 * np.exp2(rng.integers(-9, 9, (62, 8)))  # amax / 6 on a power of two
    tensor, scales = MXFP4QTensor.quantize(torch.from_numpy(values.copy()), 32)
    blocks, our_scales = mxfp4.quantize(values)
    np.testing.assert_array_equal(our_scales.reshape(-1), scales.numpy().reshape(-1))
    np.testing.assert_array_equal(blocks.reshape(64, 128), tensor._quantized_data.numpy())


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transformers_decodes_the_same_values(torch: Any, dtype: Literal["float32", "bfloat16"]) -> None:
    mxfp4_integration = pytest.importorskip("transformers.integrations.mxfp4")
    blocks, scales = random_tensor(5, 2, 24, 3)
    scales = scales // 2 + 60
    theirs = mxfp4_integration.convert_moe_packed_tensors(
        torch.from_numpy(blocks), torch.from_numpy(scales), dtype=getattr(torch, dtype)
    )
    ours = mxfp4.dequantize(blocks, scales, dtype)
    as_f32 = bf16.to_f32(ours) if dtype == "bfloat16" else ours
    expected = theirs.transpose(1, 2).float().numpy()
    np.testing.assert_array_equal(as_f32, expected)
    np.testing.assert_array_equal(np.signbit(as_f32), np.signbit(expected))
