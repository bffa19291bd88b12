"""The evaluation dataset and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError, UnknownItemError
from users import plain_dataset, users

STARS = ValueScale.explicit(1, 5)
TRAIN = users([(0, 5, 10), (1, 4, 20)])
HELD_OUT = users([(0, 5, 10), (1, 4, 20), (2, 1, 30)], ids=[7])


def dataset(train=TRAIN, held_out_users=HELD_OUT, items=3):
    return plain_dataset(train, held_out_users, items, STARS)


def test_empty_split_is_refused():
    with pytest.raises(DataError, match=r"^the split has 0 users\. Expected at least 1"):
        dataset(held_out_users=users())


def test_overlapping_user_is_refused():
    with pytest.raises(DataError, match=r"^1 users are both training and held-out users, user 1 among them"):
        dataset(held_out_users=replace(HELD_OUT, user_ids=np.array([1])))


def test_user_of_one_item_is_excluded():
    mixed = users([(0, 5, 10)], [(0, 5, 10), (1, 4, 20), (2, 1, 30)], ids=[6, 7])
    for name in ("top-rated", "next-item", "last-20pct"):
        task = dataset(held_out_users=mixed).task(name)
        assert (task.excluded_users, task.inputs.user_ids.tolist()) == (1, [7])


@pytest.mark.parametrize("name", ["top-rated", "random-20pct", "next-item"])
def test_users_of_one_item_each_are_refused(name):
    found_text = f"^none of the 2 users has a task to evaluate .{name}: no user has "
    with pytest.raises(DataError, match=found_text):
        dataset(held_out_users=users([(0, 5, 10)], [(1, 5, 10)], ids=[6, 7])).task(name)


def test_task_that_cannot_run_is_skipped_with_its_reason():
    unordered = replace(dataset(), order="none")
    tasks, skipped = unordered.tasks(["next-item", "top-rated"])
    assert [task.name for task in tasks] == ["top-rated"]
    assert skipped == {"next-item": "there is no order in time"}
    tasks, skipped = dataset().tasks(["global-temporal", "next-item"])
    assert [task.name for task in tasks] == ["next-item"]
    assert "the split has no timestamp" in skipped["global-temporal"]
    with pytest.raises(
        DataError, match=r"has a task to evaluate .global-temporal: the split has no timestamp"
    ):
        dataset().tasks(["global-temporal"])


@pytest.mark.parametrize("item", [3, -1])
def test_unknown_item_is_refused(item):
    strange = users([(0, 5, 10), (item, 4, 20)], ids=["ann"])
    found_text = f"^the history of user ann contains item index {item}. Expected 0 to 2. Use histories and items of one"
    with pytest.raises(UnknownItemError, match=found_text):
        dataset(train=users([(0, 5, 10), (1, 4, 20)], ids=["bob"]), held_out_users=strange)


def test_unknown_item_in_training_history_is_refused():
    with pytest.raises(UnknownItemError, match=r"^the history of user 1 contains item index 5"):
        replace(dataset(), train=users([(0, 5, 10), (5, 4, 20)]))


def test_duplicate_item_of_user_is_refused():
    twice = users([(0, 5, 10), (1, 5, 20), (0, 5, 30)], ids=[7])
    with pytest.raises(
        DataError, match=r"^task next-item: item 0 of user 7 is both an input item and held out"
    ):
        dataset(held_out_users=twice).task("next-item")
