"""Properties of shuffled sessions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.evaluation.slices import sessions, shuffle_sessions
from users import TAGGED, users


@st.composite
def crowds(draw):
    """Return up to 5 users with 0 to 15 items each, in sessions minutes or an hour apart, some without timestamps."""
    each = []
    for _ in range(draw(st.integers(0, 5))):
        items = draw(st.lists(st.integers(0, 40), max_size=15, unique=True))
        pauses = draw(
            st.lists(st.sampled_from([0, 60, 1800, 1801, 4000]), min_size=len(items), max_size=len(items))
        )
        timestamps = (
            np.cumsum(pauses, dtype=np.int64) if draw(st.booleans()) else np.full(len(items), NO_TIMESTAMP)
        )
        stars = draw(st.lists(st.sampled_from([1, 3, 5, TAGGED]), min_size=len(items), max_size=len(items)))
        each.append(list(zip(items, stars, timestamps.tolist(), strict=True)))
    return users(*each)


def rows(histories):
    """(M,) every interaction with its rating, without its position."""
    return [
        (item, str(stars), float(scale))
        for item, stars, scale in zip(
            histories.items, histories.ratings, histories.normalized_ratings, strict=True
        )
    ]


@given(crowds(), st.integers(0, 100))
def test_shuffle_sessions_keeps_sessions_and_timestamps(histories, seed):
    other = shuffle_sessions(histories, seed)
    np.testing.assert_array_equal(other.user_ids, histories.user_ids)
    np.testing.assert_array_equal(other.offsets, histories.offsets)
    np.testing.assert_array_equal(other.timestamps, histories.timestamps)
    held = sessions(histories)
    assert sorted(zip(held, rows(other), strict=True)) == sorted(zip(held, rows(histories), strict=True))


@given(crowds(), st.integers(0, 100))
def test_shuffle_sessions_with_equal_seed_is_equal(histories, seed):
    np.testing.assert_array_equal(
        shuffle_sessions(histories, seed).items, shuffle_sessions(histories, seed).items
    )


@given(crowds())
def test_session_has_one_user_and_no_long_gap(histories):
    held = sessions(histories)
    assert (np.diff(held) >= 0).all()
    for session in np.unique(held):
        inside = held == session
        assert len(np.unique(histories.owners[inside])) == 1
        assert np.diff(histories.timestamps[inside]).max(initial=0) <= 1800
    for user in range(len(histories)):
        own = slice(histories.offsets[user], histories.offsets[user + 1])
        between = np.diff(held[own]) > 0
        assert (np.diff(histories.timestamps[own])[between] > 1800).all()
