"""How histories are laid out for an encoder (tastevec.data.inputs)."""

import numpy as np
import pytest

from encoders import reading
from tastevec.data.inputs import FIRST_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN, bin_time_gaps
from tastevec.data.value_scale import HALF_STARS, ValueScale
from users import TAGGED, users

FULL_STARS = ValueScale.explicit(1.0, 5.0)


def items_of(how, histories):
    return how.arrays(histories)["items"].tolist()


@pytest.mark.parametrize("scale", [FULL_STARS, HALF_STARS])
def test_bin_ratings_has_one_bin_per_half_star_and_one_for_tag_only(scale):
    stars = np.arange(scale.low, scale.high + 0.5, 0.5, dtype=np.float32)
    assert scale.bin_values(stars).tolist() == list(range(scale.n_bins))
    assert scale.bin_values(np.array([TAGGED], np.float32)).tolist() == [scale.n_bins]


@pytest.mark.parametrize("scale", [FULL_STARS, HALF_STARS])
def test_positive_starts_at_four_stars_and_excludes_tag_only(scale):
    stars = np.array([1, 3.5, 4, 4.5, 5, TAGGED], np.float32)
    assert scale.positive(stars).tolist() == [False, False, True, True, True, False]


def test_arrays_are_padded_on_the_right():
    arrays = reading().arrays(users([(7, 5), (3, 1)], [], [(4, TAGGED)]))
    assert arrays["items"].tolist() == [[7, 3], [0, 0], [4, 0]]
    assert arrays["rating_bins"].tolist() == [[8, 0], [0, 0], [9, 0]]
    assert arrays["normalized_ratings"].tolist() == [[1, -1], [0, 0], [0, 0]]
    assert arrays["lengths"].tolist() == [2, 0, 1]
    assert arrays["time_gap_bins"].tolist() == [
        [UNKNOWN_TIME_GAP_BIN, UNKNOWN_TIME_GAP_BIN],
        [0, 0],
        [UNKNOWN_TIME_GAP_BIN, 0],
    ]
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "items": "int64",
        "rating_bins": "int64",
        "normalized_ratings": "float32",
        "time_gap_bins": "int64",
        "lengths": "int64",
    }


def test_pad_full_pads_to_max_history():
    assert reading(max_history=4, pad="full").arrays(users([(7, 5)]))["items"].shape == (1, 4)


def test_empty_histories_have_one_padded_position():
    assert reading().arrays(users([], []))["items"].shape == (2, 1)


def test_truncate_keeps_newest_or_oldest():
    histories = users([(9, 1), (8, 2), (7, 3)], [(6, 4)])
    assert items_of(reading(max_history=2), histories) == [[8, 7], [6, 0]]
    assert items_of(reading(max_history=2, truncate="oldest"), histories) == [[9, 8], [6, 0]]


def test_order_item_sorts_and_truncates_by_item():
    histories = users([(9, 1), (2, 5), (7, 3)], [(6, 4), (1, 2)])
    arrays = reading(order="item").arrays(histories)
    assert arrays["items"].tolist() == [[2, 7, 9], [1, 6, 0]]
    assert arrays["rating_bins"].tolist() == [[8, 4, 0], [2, 6, 0]]
    assert arrays["normalized_ratings"][0].tolist() == [1, 0, -1]
    first = reading(order="item", truncate="oldest", max_history=2)
    assert items_of(first, histories) == [[2, 7], [1, 6]]


def test_max_history_overall_adds_order_free_arrays():
    histories = users([(9, 1), (8, 2), (7, 5)], [(6, 4)])
    arrays = reading(max_history=1, max_history_overall=2).arrays(histories)
    assert arrays["items"].tolist() == [[7], [6]]
    assert arrays["overall_items"].tolist() == [[8, 7], [6, 0]]
    assert arrays["overall_rating_bins"].tolist() == [[2, 8], [6, 0]]
    assert arrays["overall_lengths"].tolist() == [2, 1]


def test_sequence_arrays_have_no_order_free_arrays():
    how, histories = reading(max_history=1, max_history_overall=2), users([(9, 1), (8, 2)])
    arrays = how.arrays(histories)
    for name, array in how.sequence_arrays(histories).items():
        np.testing.assert_array_equal(array, arrays.pop(name))
    assert set(arrays) == {"overall_items", "overall_rating_bins", "overall_lengths"}


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (2**20, 21), (2**21 - 1, 21), (2**21, 22), (2**40, 22)],
)
def test_bin_time_gaps_has_one_bin_per_doubling(seconds, level):
    histories = users([(0, 5, 1000), (1, 5, 1000 + seconds)])
    assert bin_time_gaps(histories).tolist() == [FIRST_TIME_GAP_BIN, level]


def test_unknown_timestamp_makes_both_gaps_unknown():
    histories = users([(0, 5, 7), (1, 5), (2, 5, 9), (3, 5, 9), (4, 5)], [(0, 5, 5), (1, 5, 6)])
    unknown = UNKNOWN_TIME_GAP_BIN
    assert bin_time_gaps(histories).tolist() == [
        FIRST_TIME_GAP_BIN,
        unknown,
        unknown,
        0,
        unknown,
        FIRST_TIME_GAP_BIN,
        1,
    ]


def test_first_selected_interaction_has_no_gap():
    histories = users([(9, 1, 10), (8, 2, 11), (7, 3, 12)], [(6, 4, 5)])
    arrays = reading(max_history=2).arrays(histories)
    assert arrays["time_gap_bins"].tolist() == [[FIRST_TIME_GAP_BIN, 1], [FIRST_TIME_GAP_BIN, 0]]


def test_negative_gaps_are_in_bin_zero():
    arrays = reading(order="item").arrays(users([(9, 1, 10), (2, 5, 14)]))
    assert arrays["time_gap_bins"].tolist() == [[FIRST_TIME_GAP_BIN, 0]]


def test_arrays_do_not_change_the_histories():
    histories = users([(9, 1), (2, 5)])
    reading(order="item").arrays(histories)
    assert histories.items.tolist() == [9, 2]
