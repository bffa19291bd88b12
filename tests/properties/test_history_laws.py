"""What holds of any histories: taking, keeping, cutting, saving and normalising."""

import tempfile
from math import isnan
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from encoders import reading
from tastevec.data.histories import Histories
from tastevec.data.inputs import N_TIME_GAP_BINS, bin_time_gaps
from tastevec.data.value_scale import normalize_ratings
from users import TAGGED, users

RATINGS = st.floats(0.5, 5, width=32) | st.just(TAGGED)
USER = st.lists(
    st.tuples(st.integers(0, 30), RATINGS, st.integers(-1, 99)), max_size=8, unique_by=lambda row: row[0]
)
EACH = st.lists(USER, min_size=1, max_size=6)
FEW = settings(max_examples=50, deadline=None)


def rows(histories):
    """Return the rows of each user as a list, with None for NaN."""
    histories_ = []
    for start, end in zip(histories.offsets, histories.offsets[1:], strict=False):
        columns = (histories.items, histories.ratings, histories.normalized_ratings, histories.timestamps)
        part = [column[start:end].tolist() for column in columns]
        histories_.append(
            [tuple(None if isnan(value) else value for value in row) for row in zip(*part, strict=True)]
        )
    return histories_


@given(EACH, st.data())
@FEW
def test_take_equals_selection_of_lists(each, data):
    histories = users(*each)
    chosen = data.draw(st.lists(st.integers(0, len(each) - 1), max_size=8))
    taken = histories.take(np.array(chosen, np.int64))
    assert rows(taken) == [rows(histories)[user] for user in chosen]
    assert taken.user_ids.tolist() == [user + 1 for user in chosen]


@given(EACH, st.data())
@FEW
def test_keep_equals_filter_of_lists(each, data):
    histories = users(*each)
    mask = data.draw(arrays.arrays(bool, len(histories.items)))
    kept = iter(mask.tolist())
    assert rows(histories.keep(mask)) == [[row for row in user if next(kept)] for user in rows(histories)]


@given(EACH, st.integers(1, 9), st.integers(1, 4))
@FEW
def test_last_is_end_of_lists_and_chunks_join_to_all(each, newest, size):
    histories = users(*each)
    assert rows(histories.last(newest)) == [user[-newest:] for user in rows(histories)]
    assert [user for group in histories.chunks(size) for user in rows(group)] == rows(histories)


@given(EACH)
@FEW
def test_save_and_open_change_nothing(each):
    histories = users(*each)
    with tempfile.TemporaryDirectory() as root:
        histories.save(Path(root))
        assert rows(Histories.open(Path(root), histories.user_ids)) == rows(histories)


@given(EACH)
@FEW
def test_normalized_ratings_keep_order_and_extremes(each):
    histories = users(*each)
    scaled = normalize_ratings(histories.ratings, histories.offsets)
    assert np.isfinite(scaled).all()
    for user in range(len(each)):
        mine = histories.owners == user
        rated = mine & np.isfinite(histories.ratings)
        given_, got = histories.ratings[rated].astype(np.float64), scaled[rated]
        assert not scaled[mine & ~rated].any()
        order = np.argsort(given_, kind="stable")
        assert (np.diff(got[order]) >= 0).all()
        if len(given_) and np.ptp(given_) > 1e-3:
            assert got.max() == 1
            assert got.min() == -1
        elif len(given_) and np.ptp(given_) == 0:
            assert not np.abs(got).any()


@given(EACH, st.integers(1, 9), st.sampled_from(["time", "item"]), st.sampled_from(["newest", "oldest"]))
@FEW
def test_selected_interactions_are_one_end_in_order(each, most, order, end):
    histories = users(*each)
    read = reading(max_history=most, order=order, truncate=end).arrays(histories)
    for user, items in enumerate(rows(histories)):
        wanted = [row[0] for row in items]
        if order == "item":
            wanted.sort()
        wanted = wanted[-most:] if end == "newest" else wanted[:most]
        length = read["lengths"][user]
        assert read["items"][user, :length].tolist() == wanted
        for column in ("items", "rating_bins", "normalized_ratings", "time_gap_bins"):
            assert not read[column][user, length:].any()


@given(EACH, st.integers(0, 2_000_000_000))
@FEW
def test_time_gap_bins_depend_on_own_differences_only(each, later):
    together = bin_time_gaps(users(*each))
    assert ((together >= 0) & (together < N_TIME_GAP_BINS)).all()
    alone = [bin_time_gaps(users(user)).tolist() for user in each]
    assert together.tolist() == [level for user in alone for level in user]
    shifted = [
        [(item, stars, time if time < 0 else time + later) for item, stars, time in user] for user in each
    ]
    assert bin_time_gaps(users(*shifted)).tolist() == together.tolist()
