from __future__ import annotations

import numpy as np

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.evaluation.slices import session_note, sessions, shuffle_sessions
from users import items_of, users

HOUR = 3600


def test_gap_above_30_minutes_ends_session():
    histories = users([(0, 5, 0), (1, 5, 1800), (2, 5, 3601)], [(0, 5, 3601), (1, 5, 3601)])
    assert sessions(histories).tolist() == [0, 0, 1, 2, 2]


def test_unknown_timestamp_ends_no_session():
    histories = users([(0, 5, NO_TIMESTAMP), (1, 5, 9 * HOUR), (2, 5, NO_TIMESTAMP), (3, 5, 99 * HOUR)])
    assert sessions(histories).tolist() == [0, 0, 0, 0]


def test_shuffle_sessions_moves_items_with_ratings():
    stars = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    histories = users([(item, stars[item], HOUR * (item // 5)) for item in range(10)])
    other = shuffle_sessions(histories, seed=1)
    assert items_of(other, 0) != items_of(histories, 0)
    assert set(items_of(other, 0)[:5]) == {0, 1, 2, 3, 4}
    assert other.timestamps.tolist() == histories.timestamps.tolist()
    assert other.ratings.tolist() == [stars[item] for item in items_of(other, 0)]
    assert other.normalized_ratings.tolist() == [
        histories.normalized_ratings[item] for item in items_of(other, 0)
    ]


def test_shuffle_sessions_with_other_seed_differs():
    histories = users([(item, 5, 0) for item in range(30)])
    assert items_of(shuffle_sessions(histories, 1), 0) != items_of(shuffle_sessions(histories, 2), 0)


def test_shuffle_sessions_is_uniform():
    histories = users(*[[(item, 5, 0) for item in range(3)] for _ in range(6000)])
    orders = shuffle_sessions(histories, seed=3).items.reshape(-1, 3)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert (np.abs(counts - 1000) < 150).all()


def test_shuffle_sessions_keeps_sessions_of_one_item():
    histories = users([(item, 5, item * HOUR) for item in range(20)])
    assert items_of(shuffle_sessions(histories, 1), 0) == list(range(20))


def test_session_note_has_share_or_missing_timestamps():
    timed = users([(0, 5, 0), (1, 5, 0), (2, 5, HOUR), (3, 5, 3 * HOUR)])
    assert "50% of them share a session." in session_note(timed)
    assert "No timestamps" in session_note(users([(0, 5), (1, 5)]))


def test_shuffle_sessions_without_timestamps_shuffles_history():
    other = shuffle_sessions(users([(item, 5) for item in range(30)]), seed=1)
    assert items_of(other, 0) != list(range(30))
    assert sorted(items_of(other, 0)) == list(range(30))
