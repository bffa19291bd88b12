import gc

import numpy as np
import pytest

from sources import Row, interactions
from tastevec.data.histories import NO_TIME
from tastevec.data.streaming import iter_histories

FILMS = np.array([10, 20, 30])


def test_people_come_by_ascending_id_each_oldest_first():
    table = interactions([Row(2, 30, 5, 9), Row(1, 20, 3, 8), Row(2, 10, 1, 7)])
    (people,) = iter_histories(table, FILMS)
    assert people.user_ids.tolist() == [1, 2]
    assert people.offsets.tolist() == [0, 1, 3]
    assert people.items.tolist() == [1, 0, 2]
    assert people.ratings.tolist() == [3, 1, 5]
    assert people.normalised.tolist() == [0, -1, 1]
    assert people.times.tolist() == [8, 7, 9]


def test_without_times_the_order_of_the_source_stays():
    (people,) = iter_histories(interactions([Row(1, 30), Row(1, 10), Row(1, 20)]), FILMS)
    assert people.items.tolist() == [2, 0, 1]
    assert people.times.tolist() == [NO_TIME] * 3


def test_an_unknown_film_is_left_out_counted_and_still_part_of_the_person_s_scale():
    stream = iter_histories(interactions([Row(1, 10, 1.0), Row(1, 99, 5.0), Row(1, 20, 3.0)]), FILMS)
    people = next(stream)
    assert people.items.tolist() == [0, 1]
    assert people.normalised.tolist() == [-1, 0]  # the mean is 3, over all three films
    assert (stream.users, stream.interactions, stream.unknown) == (1, 3, 1)


def test_a_person_left_with_nothing_is_still_given():
    (people,) = iter_histories(interactions([Row("ann", 99), Row("bob", 10), Row("cid", 98)]), FILMS)
    assert people.user_ids.tolist() == ["ann", "bob", "cid"]
    assert people.lengths.tolist() == [0, 1, 0]


def test_a_film_that_was_only_tagged_has_no_rating():
    (people,) = iter_histories(interactions([Row(1, 10, None), Row(1, 20, 5.0), Row(1, 30, 3.0)]), FILMS)
    assert np.isnan(people.ratings).tolist() == [True, False, False]
    assert people.normalised.tolist() == [0, 1, -1]


def test_people_who_only_tagged_unknown_films_pass_too():
    (people,) = iter_histories(interactions([Row(1, 99, None)]), FILMS)
    assert people.lengths.tolist() == [0]


def test_ids_of_two_types_are_compared_as_text():
    (people,) = iter_histories(interactions([Row(1, "20"), Row(1, "tt9")]), FILMS)
    assert people.items.tolist() == [1]
    (people,) = iter_histories(interactions([Row(1, 20)]), np.array(["10", "20"], dtype=object))
    assert people.items.tolist() == [1]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_group_holds_whole_people_and_no_more_than_asked(size, monkeypatch):
    monkeypatch.setattr(
        "tastevec.data.streaming._ROWS", 2
    )  # so that people are cut by the batches that are read
    rows = [Row(user, FILMS[film], film + 1.0) for user in range(7) for film in range(user % 3 + 1)]
    groups = list(iter_histories(interactions(rows), FILMS, users_per_batch=size))
    assert [len(group) for group in groups[:-1]] == [size] * (len(groups) - 1)
    assert np.concatenate([group.user_ids for group in groups]).tolist() == list(range(7))
    assert np.concatenate([group.lengths for group in groups]).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert np.concatenate([group.items for group in groups]).tolist() == [
        film for user in range(7) for film in range(user % 3 + 1)
    ]


def test_nobody_gives_nothing():
    assert list(iter_histories(interactions([]), FILMS)) == []


def test_the_connection_may_be_used_while_people_pass():
    table = interactions([Row(user, 10) for user in range(9)])
    stream = iter_histories(table, FILMS, users_per_batch=2)
    next(stream)
    assert table.count().to_pyarrow().as_py() == 9
    assert sum(len(people) for people in stream) == 7


def test_a_stream_left_half_way_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stream = iter_histories(interactions([Row(user, 10) for user in range(9)]), FILMS, users_per_batch=2)
    next(stream)
    assert any(tmp_path.glob(".tastevec-spool-*"))
    del stream
    gc.collect()
    assert not any(tmp_path.iterdir())
