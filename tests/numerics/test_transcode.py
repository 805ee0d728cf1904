"""NVFP4 to MXFP4 against a search over all 255 exponents that shares no code with it."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.checkpoint.source import Checkpoint
from toolkit.errors import CheckpointError
from toolkit.numerics import mxfp4, nvfp4, transcode
from toolkit.numerics.cast import mxfp4_to_nvfp4
from toolkit.numerics.transcode import nvfp4_to_mxfp4

MAGNITUDE = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
ONE = 0x38  # E4M3
GLOBAL = [2.0**-12, 0.37 / 2688, 3.3e-3, 1.7e30, 2.5e-36, 1e-38, 6e-42, 2.0**-149]
"""The last four make values near the ends of FP32, subnormal ones among them."""


def pack(codes: np.ndarray) -> np.ndarray:
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)


def unpack(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def decode(packed: np.ndarray, scale: np.ndarray, scale_2: float) -> np.ndarray:
    """Float64 of what the formula gives in FP32; K last."""
    codes = unpack(packed)
    with np.errstate(under="ignore"):
        real = scale.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(scale_2)
        magnitude = MAGNITUDE.astype(np.float32)[codes & 7] * real.repeat(16, axis=-1)
    return np.where(codes & 8, -1.0, 1.0) * magnitude


def decode_mxfp4(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    codes = unpack(blocks)
    return np.ldexp(np.where(codes & 8, -1, 1) * MAGNITUDE[codes & 7], scales[..., None].astype(int) - 127)


def errors_of_all_exponents(values_BK: np.ndarray) -> np.ndarray:
    """Least squared error [B, 255] that any codes can have under each exponent."""
    grid = np.ldexp(MAGNITUDE[None], np.arange(255)[:, None] - 127)
    errors = [np.square(np.abs(np.abs(v)[:, None, None] - grid).min(axis=2)).sum(axis=0) for v in values_BK]
    return np.stack(errors)


def blocks_of(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, 32)


def random_tensor(seed: int, rows: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    packed = rng.integers(0, 256, (rows, 16 * blocks), dtype=np.uint8)
    near = rng.integers(0, 0x7F, (rows, 1)) + rng.integers(-9, 10, (rows, 2 * blocks))
    return packed, np.clip(near, 0, 0x7E).astype(np.uint8)


@pytest.mark.parametrize("scale_2", GLOBAL)
def test_no_exponent_does_better(scale_2: float) -> None:
    packed, scale = random_tensor(1, 40, 4)
    packed[:20] &= 0x33  # blocks without 2 to 6
    packed[:5] &= 0x11
    result = nvfp4_to_mxfp4(packed, scale, scale_2)
    values = blocks_of(decode(packed, scale, scale_2))
    error = np.square(blocks_of(decode_mxfp4(result.blocks, result.scales)) - values).sum(axis=1)
    best = errors_of_all_exponents(values).min(axis=1)
    np.testing.assert_allclose(error, best, rtol=1e-12)
    assert result.report.blocks == 160
    assert result.report.exact_blocks == (best == 0).sum()
    assert result.report.squared_error == pytest.approx(best.sum(), rel=1e-12, abs=0)
    assert result.report.squared_norm == pytest.approx(np.square(values).sum(), rel=1e-12, abs=0)


def test_every_scale_byte_beside_every_other() -> None:
    first, second = (s.reshape(-1, 1).astype(np.uint8) for s in np.indices((0x7F, 0x7F)))
    scale = np.concatenate([first, second], axis=1)
    codes = np.random.default_rng(2).permuted(np.tile(np.arange(16), (len(scale), 2)), axis=1)
    result = nvfp4_to_mxfp4(pack(codes), scale, 0.01)
    values = decode(pack(codes), scale, 0.01)
    error = np.square(decode_mxfp4(result.blocks, result.scales)[:, 0] - values).sum(axis=1)
    sample = slice(None, None, 17)
    np.testing.assert_allclose(error[sample], errors_of_all_exponents(values[sample]).min(axis=1), rtol=1e-12)
    assert result.report.squared_error == pytest.approx(error.sum(), rel=1e-12)


def exact_errors(values_K: np.ndarray) -> list[int]:
    """As ``errors_of_all_exponents`` in integers, in units of 2^-256."""
    x = [int(np.ldexp(abs(v), 128)) for v in values_K]
    grids = [[(int(2 * m) << e) for m in MAGNITUDE] for e in range(255)]  # E2M1 · 2^(e - 127) · 2^128
    return [sum(min(abs(value - q) for q in grid) ** 2 for value in x) for grid in grids]


@settings(max_examples=40)
@given(st.data())
def test_the_exact_choice_in_close_races(data: st.DataObject) -> None:
    """One value just above 3 · 2^e, many at 0.25 · 2^e and 0.75 · 2^e: two exponents cost about the same."""
    top = data.draw(st.sampled_from([0x39, 0x3A, 0x3B, 0x40, 0x41, 0x42, 0x43]))
    low = data.draw(st.sampled_from([0x28, 0x29, 0x2C, 0x30, 0x24]))
    codes = np.zeros(32, np.uint8)
    codes[0] = data.draw(st.sampled_from([4, 5, 7]))
    codes[16:] = data.draw(st.lists(st.sampled_from([0, 1, 2, 3]), min_size=16, max_size=16))
    scale_2 = data.draw(st.sampled_from([2.0**-4, 0.0437]))
    packed, scale = pack(codes[None]), np.array([[top, low]], np.uint8)
    errors = exact_errors(decode(packed, scale, scale_2)[0])
    amax = np.abs(decode(packed, scale, scale_2)).max()
    unclipped = next(e for e in range(255) if amax <= 6 * 2.0 ** (e - 127))
    expected = unclipped if errors[unclipped] == min(errors) else errors.index(min(errors))
    assert nvfp4_to_mxfp4(packed, scale, scale_2).scales.tolist() == [[expected]]


@pytest.mark.parametrize(("quarters", "exponent"), [(7, 0), (8, 0), (9, -1)])
def test_a_tie_between_two_exponents_goes_to_the_one_that_clips_nothing(quarters: int, exponent: int) -> None:
    """3.75 costs 1/16 under 2^0 and 9/16 under 2^-1, each 0.25 costs 1/16 under 2^0 and nothing under 2^-1."""
    codes = np.zeros((1, 32), np.uint8)
    codes[0, 0] = 5
    codes[0, 16 : 16 + quarters] = 2
    result = nvfp4_to_mxfp4(pack(codes), np.array([[0x3A, 0x28]], np.uint8), 1.0)
    assert result.scales.tolist() == [[127 + exponent]]
    assert result.report.squared_error == (quarters + 1 if exponent == 0 else 9) / 16


def test_codes_are_nearest_with_ties_to_even_and_keep_their_sign() -> None:
    codes = np.zeros((1, 32), np.uint8)
    codes[0, :4] = [7, 15, 0, 8]
    codes[0, 16:24] = [1, 9, 3, 11, 2, 10, 5, 13]  # · 0.5: 0.25, 0.75, 0.5 and 1.5
    result = nvfp4_to_mxfp4(pack(codes), np.array([[ONE, 0x30]], np.uint8), 1.0)
    assert unpack(result.blocks)[0, 0, :4].tolist() == [7, 15, 0, 8]
    assert unpack(result.blocks)[0, 0, 16:24].tolist() == [0, 8, 2, 10, 1, 9, 3, 11]
    assert result.scales.tolist() == [[127]]


@pytest.mark.parametrize("scale_2", [2.0**-12, 2.0**-100])
def test_what_mxfp4_can_hold_comes_back_exactly(scale_2: float) -> None:
    """Also the blocks that ModelOpt wrote for MXFP4 values: 448 · fl32(2^k / 448) is 2^k in FP32."""
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 16, (8, 64))
    codes[:, ::32] = 7
    power = rng.integers(2, 16, (8, 2)).repeat(2, axis=1)
    for scale, factor in ((power << 3, scale_2), ((power << 3) - 2, scale_2 / 448)):
        result = nvfp4_to_mxfp4(pack(codes), scale.astype(np.uint8), factor)
        np.testing.assert_array_equal(unpack(result.blocks).reshape(8, 64), codes)
        assert (result.report.exact_blocks, result.report.relative_rms) == (16, 0.0)


def test_a_cast_tensor_comes_back_with_the_same_values() -> None:
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 256, (3, 24, 4, 16), dtype=np.uint8)
    scales = rng.integers(110, 128, (3, 24, 4), dtype=np.uint8)
    cast = mxfp4_to_nvfp4(blocks, scales)
    result = nvfp4_to_mxfp4(cast.packed, cast.scale, cast.scale_2, axis=-2)
    np.testing.assert_array_equal(decode_mxfp4(result.blocks, result.scales), decode_mxfp4(blocks, scales))
    assert result.report.exact_share == 1.0


def test_blocks_of_zeros_and_blocks_whose_scale_underflowed() -> None:
    """ModelOpt up to 0.44 writes scale 0 with codes 7 and 15 for a block too small for E4M3; it decodes to 0."""
    codes = np.array([[0] * 31 + [8], [7, 15] * 16, [7, 15] * 8 + [6] * 16])
    scale = np.array([[ONE, ONE], [0, 0], [0, ONE]], np.uint8)
    result = nvfp4_to_mxfp4(pack(codes), scale, 1.0)
    assert result.scales[:, 0].tolist() == [0, 0, 127]
    assert unpack(result.blocks)[:, 0].tolist() == [[0] * 31 + [8], [0, 8] * 16, [0, 8] * 8 + [6] * 16]
    assert (result.report.exact_blocks, result.report.squared_norm) == (3, 16 * 16.0)


def test_values_below_the_least_exponent() -> None:
    """2^-149 and such cannot come below 2^-127: everything rounds to what 2^-127 has."""
    codes = np.tile(np.arange(16), 2)[None]
    result = nvfp4_to_mxfp4(pack(codes), np.array([[ONE, 0x08]], np.uint8), 2.0**-130)
    assert result.scales.tolist() == [[0]]
    values = decode(pack(codes), np.array([[ONE, 0x08]], np.uint8), 2.0**-130)
    np.testing.assert_allclose(result.report.squared_error, errors_of_all_exponents(values).min(axis=1).sum())


@pytest.mark.parametrize("chunk", [1, 7, 10**9])
def test_layout_and_chunking_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    packed, scale = random_tensor(6, 3 * 50, 3)
    packed_ENP, scale_ENS = packed.reshape(3, 50, 48), scale.reshape(3, 50, 6)
    expected = nvfp4_to_mxfp4(packed_ENP, scale_ENS, 0.02)
    monkeypatch.setattr(transcode, "_CHUNK", chunk)
    stored = [np.ascontiguousarray(array.swapaxes(1, 2)) for array in (packed_ENP, scale_ENS)]
    actual = nvfp4_to_mxfp4(stored[0], stored[1], 0.02, axis=-2)
    assert (actual.blocks.shape, actual.scales.shape) == ((3, 50, 3, 16), (3, 50, 3))
    np.testing.assert_array_equal(actual.blocks, expected.blocks)
    np.testing.assert_array_equal(actual.scales, expected.scales)
    parts = [nvfp4_to_mxfp4(stored[0][e], stored[1][e], 0.02, axis=-2) for e in range(3)]
    np.testing.assert_array_equal(np.stack([part.blocks for part in parts]), expected.blocks)
    for report in (actual.report, parts[0].report + parts[1].report + parts[2].report):
        assert (report.blocks, report.exact_blocks) == (450, expected.report.exact_blocks)
        assert report.squared_error == pytest.approx(expected.report.squared_error, rel=1e-12)


@pytest.mark.parametrize("shape", [(0, 16), (4, 0)])
def test_nothing_becomes_nothing(shape: tuple[int, int]) -> None:
    result = nvfp4_to_mxfp4(np.zeros(shape, np.uint8), np.zeros((shape[0], shape[1] // 8), np.uint8), 1.0)
    assert (result.blocks.shape, result.report.blocks) == ((shape[0], shape[1] // 16, 16), 0)


def test_a_real_tensor_loses_no_more_than_by_modelopts_rule(sample: Path) -> None:
    name = "model.layers.0.mlp.experts.down_proj"
    with Checkpoint.open(sample) as checkpoint:
        packed, scale = checkpoint.array(name), checkpoint.array(f"{name}_weight_scale")
        scale_2 = float(checkpoint.array(f"{name}_weight_scale_2"))
        result = nvfp4_to_mxfp4(packed, scale, scale_2, axis=-2)
        values = np.ascontiguousarray(nvfp4.dequantize(packed, scale, scale_2, axis=-2).swapaxes(1, 2))
    other = mxfp4.dequantize(*mxfp4.quantize(values))
    ours = mxfp4.dequantize(result.blocks, result.scales)
    ours_B, other_B = (np.square(new - values).reshape(-1, 32).astype(np.float64).sum(axis=1) for new in (ours, other))
    assert (ours_B <= other_B * (1 + 1e-6)).all()
    assert ours_B.sum() < 0.95 * other_B.sum()
    assert result.report.relative_rms == pytest.approx(np.sqrt(ours_B.sum() / np.square(values).sum()), rel=1e-3)


@pytest.mark.parametrize(("byte", "kind"), [(0x7F, "NaN"), (0xFF, "NaN"), (0x80, "negative"), (0xB8, "negative")])
def test_a_block_scale_that_no_quantiser_writes_is_refused_with_its_place(byte: int, kind: str) -> None:
    packed, scale = np.zeros((4, 16, 40), np.uint8), np.full((4, 2, 40), ONE, np.uint8)
    scale[2, 1, 33] = byte
    with pytest.raises(CheckpointError) as caught:
        nvfp4_to_mxfp4(packed, scale, 1.0, axis=-2, first=64)
    assert str(caught.value) == (
        f"block scale [66, 1, 33] is {byte:#04x}, which is {kind}. Quantise the model again, or fetch the file again"
    )


@pytest.mark.parametrize("scale_2", [0.0, -1.0, float("nan"), float("inf"), 1e-46, 2e35])
def test_a_global_scale_that_cannot_be(scale_2: float) -> None:
    with pytest.raises(CheckpointError, match="must be above 0 and keep 6 · 448 times itself finite in FP32"):
        nvfp4_to_mxfp4(np.zeros((1, 16), np.uint8), np.zeros((1, 2), np.uint8), scale_2)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(CheckpointError) as caught:
        nvfp4_to_mxfp4(np.zeros(16, np.uint8), np.zeros(2, np.uint8), 1.0)
    assert str(caught.value) == "NVFP4 weights packed as [16] are no matrix"
    with pytest.raises(CheckpointError) as caught:
        nvfp4_to_mxfp4(np.zeros((2, 24), np.uint8), np.zeros((2, 3), np.uint8), 1.0)
    assert str(caught.value) == "K of NVFP4 weights packed as [2, 24] is 48, not a multiple of 32"
    with pytest.raises(CheckpointError) as caught:
        nvfp4_to_mxfp4(np.zeros((2, 32, 8), np.uint8), np.zeros((2, 32, 1), np.uint8), 1.0, axis=-2)
    assert str(caught.value) == (
        "NVFP4 block scales of shape [2, 32, 1] do not fit packed weights of shape [2, 32, 8]: they would be [2, 4, 8]"
    )
