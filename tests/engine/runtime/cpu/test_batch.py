"""Grouping of the rows of a step."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit.engine.runtime.cpu.batch import FREE_PADDING, Batch, Chunk


def batch(rows: list[tuple[int, int]], window: int | None = None) -> Batch:
    """Rows as (slot, position); tokens do not matter to grouping."""
    slots, positions = np.array(rows).T
    return Batch.of(np.zeros(len(rows), np.intp), positions, slots, [window])


def test_chunks_and_single_rows() -> None:
    found = batch([(0, 9), (1, 4), (1, 5), (1, 6), (2, 9), (4, 0), (4, 1)])
    assert found.chunks == (Chunk(1, 4, 1, 4), Chunk(5, 7, 4, 0))
    assert found.single_slots_B.tolist() == [0, 2]
    assert found.single_positions_B.tolist() == [9, 9]
    assert np.arange(7)[found.single_rows].tolist() == [0, 4]
    assert [(group.slots, group.keys) for group in found.groups[None]] == [(slice(0, 1), 10), (slice(2, 3), 10)]


def test_neighbours_of_similar_length_are_one_slice_with_padding() -> None:
    (group,) = batch([(3, 9), (4, 11), (5, 11)]).groups[None]
    assert (group.rows, group.slots, group.keys) == (slice(0, 3), slice(3, 6), 12)
    assert group.bias_B11T is not None
    assert (group.bias_B11T[:, 0, 0] == 0).sum(axis=1).tolist() == [10, 12, 12]


def test_equal_lengths_need_no_padding() -> None:
    (group,) = batch([(0, 9), (1, 9)]).groups[None]
    assert group.bias_B11T is None


def test_a_long_neighbour_is_attended_apart() -> None:
    short, long = batch([(0, 9), (1, 9 + 2 * FREE_PADDING)]).groups[None]
    assert (short.keys, long.keys) == (10, 10 + 2 * FREE_PADDING)


def test_a_window_bounds_the_keys() -> None:
    found = batch([(0, 9), (1, 900), (2, 901)], window=12)
    assert [(group.slots, group.keys) for group in found.groups[12]] == [(slice(0, 3), 12)]


@given(st.dictionaries(st.integers(0, 12), st.integers(0, 600), min_size=1), st.sampled_from([None, 128]))
def test_every_single_row_is_in_one_group_that_shows_its_keys(positions: dict[int, int], window: int | None) -> None:
    rows = sorted(positions.items())
    seen = []
    for group in batch(rows, window).groups[window]:
        members = np.arange(len(rows))[group.rows].tolist()
        assert [rows[row][0] for row in members] == list(range(group.slots.start, group.slots.stop))
        for index, row in enumerate(members):
            keys = min(rows[row][1] + 1, window or 10**6)
            visible = group.keys if group.bias_B11T is None else int((group.bias_B11T[index] == 0).sum())
            assert visible == keys
        seen += members
    assert sorted(seen) == list(range(len(rows)))
