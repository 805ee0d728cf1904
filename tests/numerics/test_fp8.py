"""FP8 E4M3 against ml_dtypes: all bytes, and rounding at and around every midpoint."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from toolkit.numerics import fp8

ALL = np.arange(256, dtype=np.uint8)
POSITIVE = fp8.decode_e4m3(ALL[:0x7F])


def reference_encode(values: np.ndarray) -> np.ndarray:
    """ml_dtypes rounds alike but gives NaN beyond 464, where PyTorch and we saturate."""
    with np.errstate(all="ignore"):  # ml_dtypes reports underflow and signalling NaN
        saturated = np.where(np.abs(values) > 448, np.copysign(np.float32(448), values), values)
        return saturated.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def test_all_256_bytes() -> None:
    decoded = fp8.decode_e4m3(ALL)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, ALL.view(ml_dtypes.float8_e4m3fn).astype(np.float32))
    np.testing.assert_array_equal(np.signbit(decoded), ALL >= 128)
    assert np.flatnonzero(np.isnan(decoded)).tolist() == [0x7F, 0xFF]


def test_limits() -> None:
    assert (POSITIVE[1], POSITIVE[7], POSITIVE[8], POSITIVE[-1]) == (2.0**-9, 7 * 2.0**-9, 2.0**-6, 448)


def test_every_byte_survives_a_round_trip() -> None:
    np.testing.assert_array_equal(fp8.encode_e4m3(fp8.decode_e4m3(ALL)), ALL)


def test_ties_go_to_the_even_byte() -> None:
    midpoints = (POSITIVE[1:] + POSITIVE[:-1]) / 2
    lower = np.arange(len(midpoints), dtype=np.uint8)
    np.testing.assert_array_equal(fp8.encode_e4m3(midpoints), lower + (lower & 1))
    np.testing.assert_array_equal(fp8.encode_e4m3(np.nextafter(midpoints, np.float32(0))), lower)
    np.testing.assert_array_equal(fp8.encode_e4m3(np.nextafter(midpoints, np.float32(1e9))), lower + 1)
    np.testing.assert_array_equal(fp8.encode_e4m3(-midpoints), (lower + (lower & 1)) | 0x80)


@pytest.mark.parametrize(
    ("value", "byte"),
    [
        (448.0, 0x7E),
        (464.0, 0x7E),
        (464.5, 0x7E),
        (1e38, 0x7E),
        (np.inf, 0x7E),
        (-np.inf, 0xFE),
        (np.nan, 0x7F),
        (-np.nan, 0xFF),
        (0.0, 0x00),
        (-0.0, 0x80),
        (2.0**-10, 0x00),
        (1.001 * 2.0**-10, 0x01),
        (3 * 2.0**-10, 0x02),
        (1e-45, 0x00),
        (-1e-45, 0x80),
    ],
)
def test_special_values(value: float, byte: int) -> None:
    assert fp8.encode_e4m3(np.array([value], np.float32)).tolist() == [byte]


@given(arrays(np.uint32, st.integers(0, 64)))
def test_any_float32(bits: np.ndarray) -> None:
    values = bits.view(np.float32)
    np.testing.assert_array_equal(fp8.encode_e4m3(values), reference_encode(values))


@given(arrays(np.float32, 64, elements=st.floats(-500, 500, width=32)))
def test_float32_in_range(values: np.ndarray) -> None:
    np.testing.assert_array_equal(fp8.encode_e4m3(values), reference_encode(values))


def test_shapes_and_strides() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for view in (values, values.T, values[:, ::2], values[:0]):
        np.testing.assert_array_equal(fp8.encode_e4m3(view), reference_encode(view))
