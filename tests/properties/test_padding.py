"""Padding and later interactions change no state at an earlier position."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import SCALE, TASTE, encoder, forward, reading
from tastevec.data.inputs import N_TIME_GAP_BINS
from users import TAGGED, users

ITEMS, MOST = 20, 12
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
RATINGS = st.sampled_from([1.0, 2.5, 4.0, 5.0, TAGGED])
TIMES = st.sampled_from([-1, 0, 60, 5_000, 900_000])
HISTORIES = st.lists(
    st.lists(
        st.tuples(st.integers(0, ITEMS - 1), RATINGS, TIMES), max_size=MOST, unique_by=lambda row: row[0]
    ),
    min_size=1,
    max_size=4,
)
MODEL = encoder(**TASTE)


WIDENED = {
    f"{part}{name}"
    for part in ("", "overall_")
    for name in ("items", "rating_bins", "time_gap_bins", "lengths")
}


def padded(inputs, extra, rng):
    """Return the inputs with ``extra`` more columns, and random numbers at padding."""
    wide = {}
    for prefix in ("", "overall_"):
        lengths = inputs[f"{prefix}lengths"]
        width = inputs[f"{prefix}items"].shape[1] + extra
        present = torch.arange(width) < lengths[:, None]
        bounds = {"items": ITEMS, "rating_bins": SCALE.n_bins + 1, "time_gap_bins": N_TIME_GAP_BINS}
        for name, bound in bounds.items():
            if prefix + name in inputs:
                values = torch.from_numpy(rng.integers(0, bound, (len(lengths), width)))
                known = torch.arange(inputs[prefix + name].shape[1]) < lengths[:, None]
                values[present] = inputs[prefix + name][known]
                wide[prefix + name] = values
        wide[f"{prefix}lengths"] = lengths
    return wide


@given(each=HISTORIES, extra=st.integers(0, 9), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_padding_changes_no_embedding(each, extra, seed):
    arrays = reading(max_history_overall=50).arrays(users(*each))
    inputs = {name: torch.from_numpy(array) for name, array in arrays.items() if name in WIDENED}
    wide = {name: array.numpy() for name, array in padded(inputs, extra, np.random.default_rng(seed)).items()}
    bare = {name: arrays[name] for name in wide}
    for horizon in ("next", "overall"):
        np.testing.assert_allclose(MODEL.encode(horizon, **wide), MODEL.encode(horizon, **bare), **CLOSE)


@given(
    items=st.permutations(range(ITEMS)).map(lambda items: items[:MOST]),
    ratings=st.lists(RATINGS, min_size=2 * MOST, max_size=2 * MOST),
    position=st.integers(0, MOST - 1),
)
@settings(max_examples=30, deadline=None)
def test_later_items_and_ratings_change_no_earlier_state(items, ratings, position):
    before = list(zip(items, ratings[:MOST], strict=True))
    others = [item for item in range(ITEMS) if item not in items[:position]]
    after = [*before[:position], *zip(others, ratings[MOST:], strict=False)][:MOST]
    states = forward(MODEL, users(before, after), reading()).per_position
    torch.testing.assert_close(states[0, : position + 1], states[1, : position + 1], **CLOSE)


@given(each=HISTORIES)
@settings(max_examples=30, deadline=None)
def test_each_item_changes_the_state_after_it(each):
    histories = [user for user in each if user] or [[(0, 5.0, 60)]]
    states = forward(MODEL, users(*histories), reading()).per_position
    for user, items in enumerate(histories):
        steps = states[user, : len(items) + 1].diff(dim=0).abs().amax(dim=1)
        assert (steps > 1e-4).all()
