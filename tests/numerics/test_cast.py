"""MXFP4 to NVFP4 against a decoder of ten lines, and against transformers where it is installed."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from toolkit.errors import CheckpointError
from toolkit.numerics import cast
from toolkit.numerics.cast import Cast, mxfp4_to_nvfp4, tensor_exponent

MAGNITUDE = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
E4M3 = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)


def unpack(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def decode_mxfp4(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """[E, N, K] in float32."""
    power = np.ldexp(np.float32(1), scales.astype(int) - 127)[..., None]
    return (MAGNITUDE[unpack(blocks)] * power).reshape(*scales.shape[:-1], -1)


def decode_nvfp4(result: Cast) -> np.ndarray:
    """[E, N, K] in float32: E2M1 · fl32(E4M3 · scale_2)."""
    packed, scale = result.packed.swapaxes(-1, -2), result.scale.swapaxes(-1, -2)
    return MAGNITUDE[unpack(packed)] * (E4M3[scale] * np.float32(result.scale_2)).repeat(16, axis=-1)


def random_tensor(seed: int, lowest: int, highest: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scales = rng.integers(lowest, highest + 1, shape, dtype=np.uint8)
    scales.reshape(-1)[0] = highest
    return rng.integers(0, 256, (*shape, 16), dtype=np.uint8), scales


@pytest.mark.parametrize(("lowest", "highest"), [(118, 127), (110, 127), (0, 17), (0, 9), (0, 0), (235, 252)])
def test_in_range_is_equal_bit_for_bit(lowest: int, highest: int) -> None:
    blocks, scales = random_tensor(1, lowest, highest, 4, 40, 3)
    result = mxfp4_to_nvfp4(blocks, scales)
    assert (result.packed.shape, result.scale.shape) == ((4, 48, 40), (4, 6, 40))
    assert result.scale_2 == 2.0 ** max(highest - 127 - 8, -126)
    np.testing.assert_array_equal(result.packed, blocks.reshape(4, 40, 48).swapaxes(1, 2))
    actual, expected = decode_nvfp4(result), decode_mxfp4(blocks, scales)
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))
    report = result.report
    assert (report.blocks, report.exact_blocks, report.out_of_range, report.squared_error) == (480, 480, 0, 0.0)
    assert report.squared_norm == pytest.approx(np.square(expected.astype(np.float64)).sum(), rel=1e-12)


def test_a_scale_of_each_power_of_two() -> None:
    """8 down to -9: normal E4M3 bytes 0x78 to 0x08, then the subnormal 4, 2 and 1."""
    scales = np.arange(127, 109, -1, dtype=np.uint8)[None]
    result = mxfp4_to_nvfp4(np.zeros((1, 18, 16), np.uint8), scales)
    expected = [*range(0x78, 0, -8), 4, 2, 1]
    assert result.scale[:, 0].tolist() == np.repeat(expected, 2).tolist()
    np.testing.assert_array_equal(E4M3[result.scale[::2, 0]], 2.0 ** np.arange(8, -10, -1))


def far_tensor(distance: int, rows: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Row 0 holds the largest scale; the rest lie ``distance`` powers of two below it, every code at each place."""
    blocks, scales = random_tensor(2, 130 - distance, 130 - distance, 1, rows, 1)
    scales[0, 0, 0] = 130
    return blocks, scales


@pytest.mark.parametrize("distance", [17, 18, 19, 20, 21, 22, 40, 130])
def test_no_scale_does_better_on_a_block_out_of_range(distance: int) -> None:
    blocks, scales = far_tensor(distance)
    result = mxfp4_to_nvfp4(blocks, scales)
    old = decode_mxfp4(blocks, scales)[0, 1:].reshape(-1, 16).astype(np.float64)
    error = np.square(decode_nvfp4(result)[0, 1:].reshape(-1, 16) - old).sum(axis=1)
    grids = np.abs(MAGNITUDE[:8]) * E4M3[:0x7F, None].astype(np.float64) * result.scale_2
    nearest = np.abs(np.abs(old)[:, :, None, None] - grids).min(axis=3)
    np.testing.assert_array_equal(error, np.square(nearest).sum(axis=1).min(axis=1))
    inexact = int((error.reshape(-1, 2).sum(axis=1) > 0).sum())
    assert result.report.out_of_range == (63 if distance > 17 else 0)
    assert result.report.inexact_blocks == inexact
    assert (inexact > 0) == (distance > 17)
    assert result.report.squared_error == pytest.approx(error.sum(), rel=1e-12)
    assert set(result.scale[:, :, 1:].ravel().tolist()) == {1}


def test_codes_out_of_range_are_nearest_with_ties_to_even_and_keep_their_sign() -> None:
    blocks = np.tile(np.array([0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE], np.uint8), 2)
    tensor = np.stack([np.full(16, 0x77, np.uint8), *[blocks] * 3])[None, :, None]
    result = mxfp4_to_nvfp4(tensor, np.array([127, 109, 108, 105], np.uint8).reshape(1, 4, 1))
    codes = unpack(result.packed[0].T)[1:, :16]
    halves = [0, 0, 1, 2, 2, 3, 4, 5]  # 0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3 under 2^-9
    quarters = [0, 0, 0, 1, 1, 2, 2, 3]  # 0, 0.125, 0.25, 0.375, 0.5, 0.75, 1, 1.5
    for row, magnitudes in zip(codes, (halves, quarters, [0] * 8), strict=True):
        assert row.tolist() == [*magnitudes, *[m + 8 for m in magnitudes]]


def test_a_block_out_of_range_may_still_be_exact() -> None:
    """1 · 2^-18 is 0.5 · 2^-17, and zeros are zeros at any distance."""
    blocks = np.array([0x77, 0x22, 0x80, 0x11], np.uint8).repeat(16).reshape(1, 4, 1, 16)
    scales = np.array([127, 109, 3, 109], np.uint8).reshape(1, 4, 1)
    result = mxfp4_to_nvfp4(blocks, scales)
    np.testing.assert_array_equal(result.packed[0, 0], [0x77, 0x11, 0x80, 0x00])
    assert (result.report.out_of_range, result.report.inexact_blocks) == (3, 1)
    assert result.report.squared_error == 32 * 0.25 * 4.0**-18


@pytest.mark.parametrize("byte", [0, 127, 254])
def test_a_tensor_of_zeros(byte: int) -> None:
    blocks = np.full((2, 4, 1, 16), 0x80, np.uint8)
    result = mxfp4_to_nvfp4(blocks, np.full((2, 4, 1), byte, np.uint8))
    assert np.isfinite(np.float32(result.scale_2))
    assert np.float32(result.scale_2) >= np.finfo(np.float32).tiny
    assert (decode_nvfp4(result) == 0).all()
    assert (result.packed == 0x80).all()
    assert (result.report.exact_blocks, result.report.relative_rms) == (8, 0.0)


@pytest.mark.parametrize("chunk", [1, 7, 10**9])
def test_parts_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    blocks, scales = random_tensor(3, 100, 127, 3, 33, 4)
    expected, exponent = mxfp4_to_nvfp4(blocks, scales), tensor_exponent(scales)
    monkeypatch.setattr(cast, "_CHUNK", chunk)
    parts = [mxfp4_to_nvfp4(blocks[e], scales[e], exponent=exponent) for e in range(3)]
    for result in (mxfp4_to_nvfp4(blocks, scales), parts):
        packed, scale = (
            (np.stack([r.packed for r in result]), np.stack([r.scale for r in result]))
            if isinstance(result, list)
            else (result.packed, result.scale)
        )
        np.testing.assert_array_equal(packed, expected.packed)
        np.testing.assert_array_equal(scale, expected.scale)
    report = parts[0].report + parts[1].report + parts[2].report
    assert (report.inexact_blocks, report.out_of_range) == (
        expected.report.inexact_blocks,
        expected.report.out_of_range,
    )
    assert report.out_of_range == int((scales < 110).sum()) > 0


def test_a_nan_scale_is_refused_with_its_place() -> None:
    blocks, scales = random_tensor(4, 100, 120, 2, 5, 3)
    scales[1, 3, 2] = 255
    with pytest.raises(CheckpointError) as caught:
        mxfp4_to_nvfp4(blocks, scales)
    assert str(caught.value) == "MXFP4 scale [1, 3, 2] is 255, which is NaN. Fetch the file again"


def test_a_part_needs_the_exponent_of_the_whole() -> None:
    blocks, scales = random_tensor(4, 100, 120, 2, 5, 3)
    with pytest.raises(ValueError, match="exponent -16 is not that of the whole tensor: this part needs -15"):
        mxfp4_to_nvfp4(blocks, scales, exponent=-16)


@pytest.mark.parametrize("shape", [(4, 3, 8), (4, 2, 16), (16,)])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError) as caught:
        mxfp4_to_nvfp4(np.zeros(shape, np.uint8), np.zeros((4, 3), np.uint8))
    assert str(caught.value) == (
        f"MXFP4 scales of shape [4, 3] do not fit blocks of shape {list(shape)}: "
        "they would be [..., N, K/32] and [..., N, K/32, 16]"
    )


@pytest.mark.parametrize("shape", [(0, 4, 2), (2, 0, 2), (2, 4, 0)])
def test_nothing_becomes_nothing(shape: tuple[int, int, int]) -> None:
    result = mxfp4_to_nvfp4(np.zeros((*shape, 16), np.uint8), np.zeros(shape, np.uint8))
    assert (result.packed.shape, result.report.blocks) == ((shape[0], 16 * shape[2], shape[1]), 0)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.oracle
def test_transformers_decodes_the_source_to_the_same_bits(torch: Any) -> None:
    integration = pytest.importorskip("transformers.integrations.mxfp4")
    blocks, scales = random_tensor(5, 110, 127, 4, 192, 2)
    theirs = integration.convert_moe_packed_tensors(
        torch.from_numpy(blocks), torch.from_numpy(scales), dtype=torch.float32
    )
    ours = decode_nvfp4(mxfp4_to_nvfp4(blocks, scales)).swapaxes(1, 2)
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.contiguous().numpy().view(np.uint32))


@pytest.mark.oracle
def test_modelopt_decodes_the_result_to_the_values_of_the_source(torch: Any) -> None:
    pytest.importorskip("modelopt.torch.quantization")
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    blocks, scales = random_tensor(6, 110, 127, 2, 64, 2)
    result = mxfp4_to_nvfp4(blocks, scales)
    packed, scale = (torch.from_numpy(a.swapaxes(1, 2).copy()) for a in (result.packed, result.scale))
    tensor = NVFP4QTensor(torch.Size((2, 64, 64)), torch.float32, packed)
    decoded = tensor.dequantize(
        dtype=torch.float32,
        scale=scale.view(torch.float8_e4m3fn),
        double_scale=torch.tensor(result.scale_2, dtype=torch.float32),
        block_sizes={-1: 16},
    )
    np.testing.assert_array_equal(decoded.numpy(), decode_mxfp4(blocks, scales))
