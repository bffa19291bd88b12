import gc

import numpy as np
import pytest

from sources import Row, interactions
from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.streaming import iter_histories

ITEMS = np.array([10, 20, 30])


def test_people_come_by_ascending_id_each_oldest_first():
    table = interactions([Row(2, 30, 5, 9), Row(1, 20, 3, 8), Row(2, 10, 1, 7)])
    (users,) = iter_histories(table, ITEMS)
    assert users.user_ids.tolist() == [1, 2]
    assert users.offsets.tolist() == [0, 1, 3]
    assert users.items.tolist() == [1, 0, 2]
    assert users.ratings.tolist() == [3, 1, 5]
    assert users.normalized_ratings.tolist() == [0, -1, 1]
    assert users.timestamps.tolist() == [8, 7, 9]


def test_without_times_the_order_of_the_source_stays():
    (users,) = iter_histories(interactions([Row(1, 30), Row(1, 10), Row(1, 20)]), ITEMS)
    assert users.items.tolist() == [2, 0, 1]
    assert users.timestamps.tolist() == [NO_TIMESTAMP] * 3


def test_an_unknown_film_is_left_out_counted_and_still_part_of_the_person_s_scale():
    stream = iter_histories(interactions([Row(1, 10, 1.0), Row(1, 99, 5.0), Row(1, 20, 3.0)]), ITEMS)
    users = next(stream)
    assert users.items.tolist() == [0, 1]
    assert users.normalized_ratings.tolist() == [-1, 0]  # the mean is 3, over all three films
    assert (stream.users, stream.interactions, stream.unknown) == (1, 3, 1)


def test_a_person_left_with_nothing_is_still_given():
    (users,) = iter_histories(interactions([Row("ann", 99), Row("bob", 10), Row("cid", 98)]), ITEMS)
    assert users.user_ids.tolist() == ["ann", "bob", "cid"]
    assert users.lengths.tolist() == [0, 1, 0]


def test_a_film_that_was_only_tagged_has_no_rating():
    (users,) = iter_histories(interactions([Row(1, 10, None), Row(1, 20, 5.0), Row(1, 30, 3.0)]), ITEMS)
    assert np.isnan(users.ratings).tolist() == [True, False, False]
    assert users.normalized_ratings.tolist() == [0, 1, -1]


def test_people_who_only_tagged_unknown_films_pass_too():
    (users,) = iter_histories(interactions([Row(1, 99, None)]), ITEMS)
    assert users.lengths.tolist() == [0]


def test_ids_of_two_types_are_compared_as_text():
    (users,) = iter_histories(interactions([Row(1, "20"), Row(1, "tt9")]), ITEMS)
    assert users.items.tolist() == [1]
    (users,) = iter_histories(interactions([Row(1, 20)]), np.array(["10", "20"], dtype=object))
    assert users.items.tolist() == [1]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_group_holds_whole_people_and_no_more_than_asked(size, monkeypatch):
    monkeypatch.setattr(
        "tastevec.data.streaming._ROWS", 2
    )  # so that people are cut by the batches that are read
    rows = [Row(user, ITEMS[item], item + 1.0) for user in range(7) for item in range(user % 3 + 1)]
    groups = list(iter_histories(interactions(rows), ITEMS, users_per_batch=size))
    assert [len(group) for group in groups[:-1]] == [size] * (len(groups) - 1)
    assert np.concatenate([group.user_ids for group in groups]).tolist() == list(range(7))
    assert np.concatenate([group.lengths for group in groups]).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert np.concatenate([group.items for group in groups]).tolist() == [
        item for user in range(7) for item in range(user % 3 + 1)
    ]


def test_nobody_gives_nothing():
    assert list(iter_histories(interactions([]), ITEMS)) == []


def test_the_connection_may_be_used_while_people_pass():
    table = interactions([Row(user, 10) for user in range(9)])
    stream = iter_histories(table, ITEMS, users_per_batch=2)
    next(stream)
    assert table.count().to_pyarrow().as_py() == 9
    assert sum(len(users) for users in stream) == 7


def test_a_stream_left_half_way_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stream = iter_histories(interactions([Row(user, 10) for user in range(9)]), ITEMS, users_per_batch=2)
    next(stream)
    assert any(tmp_path.glob(".tastevec-rows-*"))
    del stream
    gc.collect()
    assert not any(tmp_path.iterdir())
