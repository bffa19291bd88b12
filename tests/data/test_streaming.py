"""Streaming of histories in batches of complete users (tastevec.data.streaming)."""

import gc
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources import Row, interactions
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.streaming import iter_histories, iter_user_batches, table_to_histories
from tastevec.data.value_scale import HALF_STARS

ITEMS = np.array([10, 20, 30])


def batches(owners, cuts):
    """Return the rows as batches, cut at these rows; ``row`` is the number of each row."""
    table = pa.table({"user_id": owners, "row": list(range(len(owners)))})
    edges = [0, *sorted(cuts), len(owners)]
    return [
        batch
        for start, end in pairwise(edges)
        for batch in (
            table.slice(start, end - start).to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
        )
    ]


def owners_of(lengths):
    return [user for user, length in enumerate(lengths) for _ in range(length)]


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    users=st.integers(1, 5),
    rows=st.integers(1, 12),
)
def test_user_batches_are_complete_and_do_not_depend_on_input_batches(lengths, cuts, users, rows):
    owners = owners_of(lengths)
    groups = list(
        iter_user_batches(batches(owners, [cut for cut in cuts if cut < len(owners)]), users=users, rows=rows)
    )
    assert [row for group in groups for row in group["row"].to_pylist()] == list(range(len(owners)))
    users_of = [set(group["user_id"].to_pylist()) for group in groups]
    assert sum(map(len, users_of)) == len(lengths)  # no user is in two batches
    for group, members in zip(groups, users_of, strict=True):
        assert len(members) <= users
        assert len(group) <= rows or len(members) == 1
    for group, following in pairwise(groups):  # each batch is as full as possible
        next_rows = lengths[following["user_id"][0].as_py()]
        assert len(set(group["user_id"].to_pylist())) == users or len(group) + next_rows > rows
    expected = list(iter_user_batches(batches(owners, []), users=users, rows=rows))
    assert [group.to_pydict() for group in groups] == [group.to_pydict() for group in expected]


@pytest.mark.parametrize("ids", [[1, 1, 2], ["a", "a", "b"], [2**53 + 1, 2**53 + 1, 2**53 + 2]])
def test_table_to_histories_keeps_user_ids(ids):
    table = pa.table(
        {
            "user_id": ids,
            "items": pa.array([3, None, -1], pa.int32()),
            "ratings": pa.array([4, None, 2], pa.float32()),
            "timestamps": [1, 2, 3],
        }
    )
    users = table_to_histories(table, HALF_STARS)
    assert users.user_ids.tolist() == [ids[0], ids[2]]
    assert users.items.tolist() == [3, -1, -1]
    assert users.offsets.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(users.ratings, [4, np.nan, 2])


def test_iter_user_batches_without_rows_is_empty():
    assert list(iter_user_batches([])) == []


def test_iter_histories_is_sorted_by_user_and_time():
    table = interactions([Row(2, 30, 5, 9), Row(1, 20, 3, 8), Row(2, 10, 1, 7)])
    (users,) = iter_histories(table, ITEMS, HALF_STARS)
    assert users.user_ids.tolist() == [1, 2]
    assert users.offsets.tolist() == [0, 1, 3]
    assert users.items.tolist() == [1, 0, 2]
    assert users.ratings.tolist() == [3, 1, 5]
    assert users.normalized_ratings.tolist() == [0, -1, 1]
    assert users.timestamps.tolist() == [8, 7, 9]


def test_iter_histories_without_timestamps_keeps_source_order():
    (users,) = iter_histories(interactions([Row(1, 30), Row(1, 10), Row(1, 20)]), ITEMS, HALF_STARS)
    assert users.items.tolist() == [2, 0, 1]
    assert users.timestamps.tolist() == [NO_TIMESTAMP] * 3


def test_unknown_item_is_counted_and_part_of_normalization():
    stream = iter_histories(
        interactions([Row(1, 10, 1.0), Row(1, 99, 5.0), Row(1, 20, 3.0)]), ITEMS, HALF_STARS
    )
    users = next(stream)
    assert users.items.tolist() == [0, 1]
    assert users.normalized_ratings.tolist() == [-1, 0]  # the mean is 3, over all three items
    assert (stream.users, stream.interactions, stream.unknown) == (1, 3, 1)


def test_user_without_known_items_has_empty_history():
    (users,) = iter_histories(
        interactions([Row("ann", 99), Row("bob", 10), Row("cid", 98)]), ITEMS, HALF_STARS
    )
    assert users.user_ids.tolist() == ["ann", "bob", "cid"]
    assert users.lengths.tolist() == [0, 1, 0]


def test_tag_only_interaction_has_no_rating():
    (users,) = iter_histories(
        interactions([Row(1, 10, None), Row(1, 20, 5.0), Row(1, 30, 3.0)]), ITEMS, HALF_STARS
    )
    assert np.isnan(users.ratings).tolist() == [True, False, False]
    assert users.normalized_ratings.tolist() == [0, 1, -1]


def test_user_with_unknown_tag_only_items_has_empty_history():
    (users,) = iter_histories(interactions([Row(1, 99, None)]), ITEMS, HALF_STARS)
    assert users.lengths.tolist() == [0]


def test_item_ids_of_two_types_are_compared_as_text():
    (users,) = iter_histories(interactions([Row(1, "20"), Row(1, "tt9")]), ITEMS, HALF_STARS)
    assert users.items.tolist() == [1]
    (users,) = iter_histories(interactions([Row(1, 20)]), np.array(["10", "20"], dtype=object), HALF_STARS)
    assert users.items.tolist() == [1]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_iter_histories_batches_have_at_most_n_users(size, monkeypatch):
    monkeypatch.setattr("tastevec.data.streaming._ROWS", 2)  # so that batches of the file split users
    rows = [Row(user, ITEMS[item], item + 1.0) for user in range(7) for item in range(user % 3 + 1)]
    groups = list(iter_histories(interactions(rows), ITEMS, HALF_STARS, users_per_batch=size))
    assert [len(group) for group in groups[:-1]] == [size] * (len(groups) - 1)
    assert np.concatenate([group.user_ids for group in groups]).tolist() == list(range(7))
    assert np.concatenate([group.lengths for group in groups]).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert np.concatenate([group.items for group in groups]).tolist() == [
        item for user in range(7) for item in range(user % 3 + 1)
    ]


def test_iter_histories_without_rows_is_empty():
    assert list(iter_histories(interactions([]), ITEMS, HALF_STARS)) == []


def test_connection_is_usable_during_iteration():
    table = interactions([Row(user, 10) for user in range(9)])
    stream = iter_histories(table, ITEMS, HALF_STARS, users_per_batch=2)
    next(stream)
    assert table.count().to_pyarrow().as_py() == 9
    assert sum(len(users) for users in stream) == 7


def test_unfinished_stream_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stream = iter_histories(
        interactions([Row(user, 10) for user in range(9)]), ITEMS, HALF_STARS, users_per_batch=2
    )
    next(stream)
    assert any(tmp_path.glob(".tastevec-rows-*"))
    del stream
    gc.collect()
    assert not any(tmp_path.iterdir())
