"""The value scale: what is positive, and how positive (tastevec.data.value_scale)."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastevec.data.value_scale import HALF_STARS, ValueScale, normalize_ratings, restored_scale
from tastevec.errors import FormatError

NAN = float("nan")
PLAYS = ValueScale.strength("weighted", positive_from=1, top=100)
EVENTS = ValueScale.strength("events", positive_from=1, top=3)
ONCE = ValueScale.strength("implicit", positive_from=1, top=1)
SCALES = [ValueScale.explicit(1, 5), HALF_STARS, ValueScale.explicit(0, 10, 6), PLAYS, EVENTS, ONCE]
ranges = st.tuples(st.integers(-10, 10), st.integers(1, 100)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@given(ranges, st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_share_of_default_rating_scale_is_position_in_range_to_the_bit(scale, positions):
    low, high = scale
    values = (low + np.array(positions) * (high - low)).astype(np.float32)
    found = ValueScale.explicit(low, high)
    np.testing.assert_array_equal(found.share(values), (values - low) / (high - low))
    bins = np.rint((values - low) / (high - low) * (found.n_bins - 1)).astype(np.int64)
    np.testing.assert_array_equal(found.bin_values(values), bins)


@given(ranges, st.floats(0.05, 1))
def test_share_of_any_rating_scale_is_three_quarters_where_positives_begin(scale, part):
    low, high = scale
    limit = float(np.float32(low + part * (high - low)))
    if not low < limit <= high:
        return
    share = ValueScale.explicit(low, high, limit).share(f32(low, limit, high))
    np.testing.assert_allclose(share, [0, 1 if limit == high else 0.75, 1], atol=1e-6)


@given(st.sampled_from(SCALES), st.lists(st.floats(-10, 1e6, width=32), min_size=2, max_size=30))
def test_share_grows_with_value_and_positives_have_three_quarters(scale, values):
    low, high = scale.limits
    ordered = np.sort(np.clip(f32(*values), low, high))
    share = scale.share(ordered)
    assert (np.diff(share) >= 0).all()
    assert ((share >= 0) & (share <= 1)).all()
    assert ((share >= 0.75) == scale.positive(ordered)).all()


def test_share_of_strengths_is_zero_below_zero_and_half_where_only_touched():
    assert PLAYS.share(f32(-3, 0, 0.5, 1, 10, 100, 5000, NAN)).tolist()[:-1] == [
        0,
        0.5,
        0.5,
        0.75,
        0.875,
        1,
        1,
    ]
    np.testing.assert_allclose(
        EVENTS.share(f32(-1, 1, 2, 3)), [0, 0.75, 0.75 + 0.25 * np.log(2) / np.log(3), 1]
    )
    assert ONCE.share(f32(1, 1, 7)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("scale", SCALES)
def test_bin_shares_fall_into_their_bins(scale):
    shares = scale.bin_shares()
    assert (shares[0], shares[-1], len(shares)) == (0, 1, scale.n_bins)
    assert np.rint(shares * (scale.n_bins - 1)).tolist() == list(range(scale.n_bins))


@pytest.mark.parametrize("scale", SCALES)
def test_at_position_is_inverse_of_position(scale):
    low, high = (scale.low, scale.high) if scale.kind == "explicit" else (scale.positive_from, scale.top)
    values = np.linspace(low, high, 9)
    np.testing.assert_allclose(scale.at_position(scale.position(values)), values)


def test_normalize_is_per_user_for_ratings_and_by_share_for_others():
    values, offsets = f32(5, 3, NAN, 4), np.array([0, 3, 4])
    np.testing.assert_array_equal(HALF_STARS.normalize(values, offsets), normalize_ratings(values, offsets))
    found = PLAYS.normalize(f32(-1, 0, NAN, 1, 100), np.array([0, 5]))
    assert (found.tolist(), found.dtype) == ([-1, 0, 0, 0.5, 1], np.float32)
    assert ONCE.normalize(f32(1, 1), np.array([0, 1, 2])).tolist() == [1, 1]  # per user it would be 0


def test_contradictory_scale_of_a_manifest_is_refused():
    fields = {"kind": "explicit", "low": 5.0, "high": 1.0, "positive_from": 4.0, "top": 5.0, "n_bins": 9}
    with pytest.raises(FormatError, match=r"^bundle.json: positive_from: 4\. .*train again"):
        restored_scale(fields, Path("bundle.json"), "Please train again.")
