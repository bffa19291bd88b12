import numpy as np
import pytest

from tastevec.data.histories import Histories
from tastevec.data.value_scale import normalize_ratings
from tastevec.errors import FormatError
from users import TAGGED, items_of, users

THREE = users([(7, 5), (3, 1), (4, 4)], [], [(4, TAGGED), (2, 3)], ids=["ann", "bob", "cat"])


def test_histories_have_lengths_and_owners():
    assert len(THREE) == 3
    assert THREE.lengths.tolist() == [3, 0, 2]
    assert THREE.owners.tolist() == [0, 0, 0, 2, 2]


def test_take_returns_users_in_given_order_with_repeats():
    taken = THREE.take(np.array([2, 0, 2]))
    assert taken.user_ids.tolist() == ["cat", "ann", "cat"]
    assert [items_of(taken, user) for user in range(3)] == [[4, 2], [7, 3, 4], [4, 2]]
    assert len(THREE.take(np.array([], np.int64))) == 0


def test_keep_filters_interactions_and_keeps_all_users():
    kept = THREE.keep(np.array([False, True, False, True, False]))
    assert kept.user_ids.tolist() == ["ann", "bob", "cat"]
    assert [items_of(kept, user) for user in range(3)] == [[3], [], [4]]


def test_last_returns_newest_interactions():
    newest = THREE.last(2)
    assert [items_of(newest, user) for user in range(3)] == [[3, 4], [], [4, 2]]


def test_chunks_return_consecutive_users():
    groups = list(THREE.chunks(2))
    assert [group.user_ids.tolist() for group in groups] == [["ann", "bob"], ["cat"]]
    assert not list(THREE.take(np.array([], np.int64)).chunks(2))


@pytest.mark.parametrize(
    "histories",
    [THREE, users([], []), THREE.take(np.array([], np.int64))],
    ids=["three", "empty", "no users"],
)
def test_save_and_open_return_equal_histories(tmp_path, histories):
    histories.save(tmp_path / "histories")
    again = Histories.open(tmp_path / "histories", histories.user_ids)
    for name in ("offsets", "items", "ratings", "normalized_ratings", "timestamps"):
        np.testing.assert_array_equal(getattr(again, name), getattr(histories, name))
        assert getattr(again, name).dtype == getattr(histories, name).dtype


def test_opened_histories_are_mapped_read_only(tmp_path):
    THREE.save(tmp_path)
    again = Histories.open(tmp_path, THREE.user_ids)
    assert isinstance(again.items, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.items[0] = 1
    again.take(np.array([0])).items[0] = 1  # what is taken is a copy


@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_bytes(b"\x93NUMPY")])
def test_open_with_missing_or_damaged_array_is_refused(tmp_path, harm):
    THREE.save(tmp_path)
    harm(tmp_path / "ratings.npy")
    with pytest.raises(FormatError, match="Run tastevec prepare again"):
        Histories.open(tmp_path, THREE.user_ids)


def test_arrays_of_different_lengths_are_refused(tmp_path):
    THREE.save(tmp_path)
    with pytest.raises(FormatError, match="Expected one more offset than users"):
        Histories.open(tmp_path, THREE.user_ids[:2])
    np.save(tmp_path / "timestamps.npy", THREE.timestamps[:4])
    with pytest.raises(FormatError, match="4 timestamps\\. Expected 5"):
        Histories.open(tmp_path, THREE.user_ids)


def test_normalize_ratings_worked_example():
    # A mean of 3: 5 is the largest deviation up, 1 down. Somebody who always says 5 says nothing.
    ratings = np.array([5, 4, 3, 2, 1, 5, 5, TAGGED, 4, 1], np.float32)
    scaled = normalize_ratings(ratings, np.array([0, 5, 7, 7, 10]))
    assert scaled.tolist() == [1, 0.5, 0, -0.5, -1, 0, 0, 0, 1, -1]
