"""BF16 against ml_dtypes, over all bit patterns of BF16 and many of float32."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from toolkit.numerics import bf16

ALL = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)


def reference(values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # ml_dtypes reports overflow and signalling NaN
        return values.astype(ml_dtypes.bfloat16).view(np.uint16)


def test_every_value_is_decoded_exactly() -> None:
    np.testing.assert_array_equal(bf16.to_f32(ALL), ALL.view(ml_dtypes.bfloat16).astype(np.float32))


def test_every_value_survives_a_round_trip() -> None:
    nan = np.isnan(bf16.to_f32(ALL))
    np.testing.assert_array_equal(bf16.from_f32(bf16.to_f32(ALL))[~nan], ALL[~nan])


def test_rounding_around_every_value() -> None:
    """Each value, the midpoint to its neighbour, and one float32 to either side of that."""
    bits = (ALL.astype(np.uint32) << 16)[:, None] + np.array([0, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = bits.view(np.float32)
    np.testing.assert_array_equal(bf16.from_f32(values), reference(values))


@given(arrays(np.uint32, st.integers(0, 64)))
def test_any_float32(bits: np.ndarray) -> None:
    values = bits.view(np.float32)
    np.testing.assert_array_equal(bf16.from_f32(values), reference(values))


def test_special_values() -> None:
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, 1.0, 1.00390625, 1.01171875], np.float32)
    wanted = [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0xFFC0, 0x7F80, 0x3F80, 0x3F80, 0x3F82]
    assert bf16.from_f32(values).tolist() == wanted


def test_shapes_and_strides() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for view in (values, values.T, values[:, ::2], np.float32(3) * np.ones((), np.float32), values[:0]):
        bits = bf16.from_f32(view)
        assert (bits.shape, bits.dtype) == (view.shape, np.uint16)
        np.testing.assert_array_equal(bf16.to_f32(bits), view)
