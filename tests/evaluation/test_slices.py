from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from tastevec.data.histories import NO_TIMESTAMP
from tastevec.data.value_scale import ValueScale
from tastevec.evaluation.dataset import NO_YEAR, ItemFacts
from tastevec.evaluation.slices import slicings
from tastevec.evaluation.tasks import build_task
from users import users

NOWHERE = 100


def items(raters, years=None):
    raters = np.array(raters)
    return ItemFacts(
        raters, 99, np.zeros((len(raters), 1), np.float32), np.array(years or [NO_YEAR] * len(raters))
    )


def year(number):
    return int(datetime(number, 6, 1, tzinfo=UTC).timestamp())


def task_of(*hidden):
    """Return a task with input item 0 and the given held-out items for each user."""
    return build_task(
        "top-rated",
        users(*[[(0, 1, 0), *((item, 5, time) for item, time in own)] for own in hidden]),
        scale=ValueScale.explicit(1, 5),
    )


def found(by, task, catalog, places):
    [slicing] = [slicing for slicing in slicings(task, catalog) if slicing.by == by]
    parts = list(slicing.recall(task, np.array(places)))
    assert all(part.metric == "found@20" for part in parts)
    assert all(part.by == by for part in parts)
    return {part.label: part.values for part in parts}


def test_slice_recall_is_share_of_held_out_items_in_first_20():
    task = task_of([(1, 0), (2, 0), (3, 0)], [(3, 0)])
    parts = found("cold_items", task, items([0, 2, 2, 50]), [0, NOWHERE, 19, 20])
    np.testing.assert_array_equal(
        parts["1-4"], [0.5, np.nan]
    )  # item 1 first, item 2 nowhere; the other has none
    np.testing.assert_array_equal(parts["20 or more"], [1, 0])  # the 20th place is found, the 21st is not
    assert list(parts) == ["1-4", "20 or more"]  # no user has a held-out item of the others


def test_cold_items_labels_follow_number_of_raters():
    raters = [9, 0, 1, 4, 5, 19, 20, 1000]
    task = task_of([(item, 0) for item in range(1, 8)])
    parts = found("cold_items", task, items(raters), [0, NOWHERE, 0, NOWHERE, 0, NOWHERE, NOWHERE])
    assert {label: values.tolist() for label, values in parts.items()} == {
        "0 raters": [1],
        "1-4": [0.5],
        "5-19": [0.5],
        "20 or more": [0],
    }


def test_deciles_are_tenths_of_rated_items():
    raters = [0, 0, *range(40, 20, -1)]  # item 2 is the most popular, item 21 the least; 0 and 1 unrated
    task = task_of([(item, 0) for item in range(1, 22)])
    parts = found("item_popularity_decile", task, items(raters), [0] * 3 + [NOWHERE] * 18)
    assert list(parts) == [str(decile) for decile in range(1, 11)]
    assert parts["10"].tolist() == [1]  # items 2 and 3; item 1, in no decile, does not count
    assert parts["9"].tolist() == [0]


def test_deciles_break_ties_by_catalog_order():
    task = task_of([(item, 0) for item in range(1, 20)])
    parts = found("item_popularity_decile", task, items([3] * 20), [0] * 19)
    assert [values.tolist() for values in parts.values()] == [[1]] * 10


def test_deciles_of_fewer_than_ten_items_skip_labels():
    assert list(found("item_popularity_decile", task_of([(1, 0)], [(2, 0)]), items([0, 7, 8]), [0, 0])) == [
        "1",
        "6",
    ]
    assert found("item_popularity_decile", task_of([(1, 0)]), items([0, 0, 0]), [0]) == {}


@pytest.mark.parametrize(
    ("age", "label"),
    [(-1, "0-1"), (0, "0-1"), (1, "0-1"), (2, "2-4"), (4, "2-4"), (5, "5-9"), (9, "5-9"), (10, "10-19"), (19, "10-19"),
     (20, "20-39"), (39, "20-39"), (40, "40 or more"), (90, "40 or more")],
)  # fmt: skip
def test_item_age_is_age_at_rating(age, label):
    task = task_of([(1, year(2000))])
    assert list(found("item_age_years", task, items([1, 1], [NO_YEAR, 2000 - age]), [0])) == [label]


def test_item_age_before_1970_is_exact():
    first = int(datetime(1999, 1, 1, tzinfo=UTC).timestamp())
    old, new = (first, first - 1)  # 1999 and 1998: ages 40 and 39 of a item of 1959
    task = task_of([(1, old)], [(1, new)])
    assert list(found("item_age_years", task, items([1, 1], [NO_YEAR, 1959]), [0, 0])) == [
        "20-39",
        "40 or more",
    ]


def test_item_age_without_year_or_timestamp_is_skipped():
    task = task_of([(1, year(2000)), (2, NO_TIMESTAMP)], [(3, year(2000))])
    parts = found("item_age_years", task, items([1] * 4, [1999, NO_YEAR, 1999, 1999]), [0, 0, NOWHERE])
    np.testing.assert_array_equal(parts["0-1"], [np.nan, 0])
    assert list(parts) == ["0-1"]
