"""The ring of a sliding layer against a cache that forgets nothing."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.engine.runtime.cpu.kv import LayerCache


def tokens(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys [T, J, D] that tell their position and head, and values that differ from them."""
    keys = np.arange(count)[:, None, None] * 100 + np.arange(2)[:, None] * 10 + np.arange(4)
    return keys.astype(np.float32), -keys.astype(np.float32)


@pytest.mark.parametrize("chunks", [[30], [8, 8, 8, 6], [3, 1, 20, 6], [7, 8, 9, 6]])
def test_a_window_sees_its_last_positions_whatever_the_chunks(chunks: list[int]) -> None:
    cache, (keys, values) = LayerCache(3, 2, 64, 4, window=8), tokens(30)
    position = 0
    for count in chunks:
        part = slice(position, position + count)
        seen_keys, seen_values, first = cache.extend(1, position, keys[part], values[part])
        assert first == max(0, position - 7)
        np.testing.assert_array_equal(seen_keys, keys[first : part.stop].transpose(1, 0, 2))
        np.testing.assert_array_equal(seen_values, values[first : part.stop].transpose(1, 0, 2))
        position += count
    # what single steps will read: the last 8 positions, each at its place in the ring
    at = np.arange(22, 30)
    np.testing.assert_array_equal(cache.keys_SJCD[1][:, at % 8], keys[22:30].transpose(1, 0, 2))
    assert not cache.keys_SJCD[[0, 2]].any()


def test_put_writes_one_token_a_slot() -> None:
    sliding, full = LayerCache(3, 2, 64, 4, window=8), LayerCache(3, 2, 64, 4, window=None)
    keys, values = tokens(2)
    for cache, places in ((sliding, (3, 5)), (full, (11, 5))):
        cache.put(np.array([0, 2]), np.array([11, 5]), keys, values)
        np.testing.assert_array_equal(cache.keys_SJCD[0, :, places[0]], keys[0])
        np.testing.assert_array_equal(cache.values_SJCD[2, :, places[1]], values[1])
        assert np.count_nonzero(cache.values_SJCD[1]) == 0


def test_memory_of_a_sliding_layer_is_its_window() -> None:
    assert LayerCache(2, 2, 4096, 4, window=128).keys_SJCD.shape == (2, 2, 128, 4)
    assert LayerCache(2, 2, 64, 4, window=128).keys_SJCD.shape == (2, 2, 64, 4)
    assert LayerCache(2, 2, 4096, 4, window=None).keys_SJCD.shape == (2, 2, 4096, 4)


def test_a_full_layer_returns_everything() -> None:
    cache, (keys, values) = LayerCache(1, 2, 64, 4, window=None), tokens(20)
    cache.extend(0, 0, keys[:12], values[:12])
    seen_keys, seen_values, first = cache.extend(0, 12, keys[12:], values[12:])
    assert first == 0
    np.testing.assert_array_equal(seen_keys, keys.transpose(1, 0, 2))
    np.testing.assert_array_equal(seen_values, values.transpose(1, 0, 2))
