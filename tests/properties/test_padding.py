"""What stands behind or after a moment changes nothing at it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import MASKED, SCALE, TASTE, ask, encoder, reading
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
MODELS = {"taste": encoder(**TASTE), "masked": encoder(**MASKED)}


def padded(arrays, extra, rng):
    """The same people with ``extra`` more columns, and rubbish wherever there is no film."""
    wide = {}
    for prefix in ("", "overall_"):
        lengths = arrays[f"{prefix}lengths"]
        width = arrays[f"{prefix}items"].shape[1] + extra
        rubbish = {
            "items": rng.integers(0, ITEMS, (len(lengths), width)),
            "rating_bins": rng.integers(0, SCALE.n_bins + 1, (len(lengths), width)),
            "time_gap_bins": rng.integers(0, N_TIME_GAP_BINS, (len(lengths), width)),
            "normalized_ratings": rng.uniform(-1, 1, (len(lengths), width)).astype(np.float32),
        }
        there = np.arange(width) < lengths[:, None]
        for name, values in rubbish.items():
            if prefix + name in arrays:
                known = np.arange(arrays[prefix + name].shape[1]) < lengths[:, None]
                values[there] = arrays[prefix + name][known]
                wide[prefix + name] = torch.from_numpy(values)
        wide[f"{prefix}lengths"] = torch.from_numpy(lengths)
    return wide


@pytest.mark.parametrize("kind", MODELS)
@given(each=HISTORIES, extra=st.integers(0, 9), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_padding_changes_nothing(kind, each, extra, seed):
    model, how = MODELS[kind], reading(max_history_overall=50)
    arrays = how.arrays(users(*each))
    with torch.no_grad():
        bare = model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        wide = model(**padded(arrays, extra, np.random.default_rng(seed)))
    torch.testing.assert_close(wide.next, bare.next, **CLOSE)
    torch.testing.assert_close(wide.overall, bare.overall, **CLOSE)


@given(
    items=st.permutations(range(ITEMS)).map(lambda items: items[:MOST]),
    ratings=st.lists(RATINGS, min_size=2 * MOST, max_size=2 * MOST),
    moment=st.integers(0, MOST - 1),
)
@settings(max_examples=30, deadline=None)
def test_a_moment_sees_no_film_that_comes_later_and_no_later_rating(items, ratings, moment):
    before = list(zip(items, ratings[:MOST], strict=True))
    others = [item for item in range(ITEMS) if item not in items[:moment]]
    after = [*before[:moment], *zip(others, ratings[MOST:], strict=False)][:MOST]
    told = ask(MODELS["taste"], users(before, after), reading())
    torch.testing.assert_close(told.moments[0, : moment + 1], told.moments[1, : moment + 1], **CLOSE)


@given(each=HISTORIES)
@settings(max_examples=30, deadline=None)
def test_a_film_changes_the_moment_behind_it(each):
    given_ = [user for user in each if user] or [[(0, 5.0, 60)]]
    told = ask(MODELS["taste"], users(*given_), reading())
    for user, items in enumerate(given_):
        steps = told.moments[user, : len(items) + 1].diff(dim=0).abs().amax(dim=1)
        assert (steps > 1e-4).all()
