from __future__ import annotations

import numpy as np
import pytest

from tastevec.data.histories import normalize_ratings
from tastevec.data.inputs import positive_from
from tastevec.errors import SettingsError
from tastevec.evaluation.tasks import TASK_TITLES, Task, build_task, task_horizon
from users import TAGGED, items_of, users

A, B, C, D, E, F, G, H, I = range(9)  # noqa: E741 - the items of the docstring's timeline
TIMELINE = [(A, 5), (B, 2), (C, TAGGED), (D, 4), (E, 5), (F, 3), (G, 4), (H, 4), (I, 1)]
STARS = (1, 5)


def targets_of(task: Task, user: int = 0) -> list[int]:
    return task.targets[task.offsets[user] : task.offsets[user + 1]].tolist()


def test_top_rated_holds_out_all_items_of_top_rating():
    task = build_task("top-rated", users(TIMELINE), rating_range=STARS)
    assert targets_of(task) == [A, E]
    assert items_of(task.inputs, 0) == [B, C, D, F, G, H, I]


def test_random_20pct_holds_out_one_of_five_positives():
    task = build_task("random-20pct", users(TIMELINE), rating_range=STARS)
    [hidden] = targets_of(task)
    assert hidden in {A, D, E, G, H}
    assert items_of(task.inputs, 0) == [item for item in range(9) if item != hidden]


def test_next_item_holds_out_last_positive():
    task = build_task("next-item", users(TIMELINE), rating_range=STARS)
    assert (task.name, targets_of(task), items_of(task.inputs, 0)) == (
        "next-item",
        [H],
        [A, B, C, D, E, F, G],
    )


def test_last_20pct_holds_out_last_positives():
    history = [(item, 5 if item % 2 else 1) for item in range(21)]  # ten positives: 1, 3, ..., 19
    task = build_task("last-20pct", users(history), rating_range=STARS)
    assert (task.name, targets_of(task)) == ("last-20pct", [17, 19])
    assert items_of(task.inputs, 0) == list(range(17))


def test_held_out_ratings_do_not_change_normalization():
    task = build_task("top-rated", users([(0, 5), (1, 3), (2, 1)]), rating_range=STARS)
    np.testing.assert_array_equal(
        task.inputs.normalized_ratings, [1, -1]
    )  # with the 5, item 1 would be the mean
    later = build_task("next-item", users([(0, 1), (1, 2), (2, 5)]), rating_range=STARS)
    np.testing.assert_array_equal(
        later.inputs.normalized_ratings, normalize_ratings(np.array([1, 2], np.float32), np.array([0, 2]))
    )


@pytest.mark.parametrize(
    ("name", "history", "why"),
    [
        ("top-rated", [(0, 5)], "one item"),
        ("top-rated", [(0, 5), (1, 5)], "all items are top-rated"),
        ("top-rated", [(0, TAGGED), (1, TAGGED)], "nothing is rated"),
        ("random-20pct", [(0, 5), (1, 5), (2, 5), (3, 5), (4, 3)], "four positives"),
        ("next-item", [(0, 5), (1, 1)], "nothing before the positive"),
        ("last-20pct", [(0, 5), (1, 1)], "nothing before the positive"),
        ("next-item", [(0, 3), (1, 3)], "no positives"),
    ],
)
def test_users_without_enough_interactions_are_excluded(name, history, why):
    enough = [(item, 4) for item in range(5)] + [(5, 5)]
    task = build_task(name, users(history, enough), rating_range=STARS)
    assert task.excluded_users == 1, why
    assert task.inputs.user_ids.tolist() == [2]


def test_positive_starts_at_four_stars_on_both_scales():
    history = [(0, 1), (1, 4), (2, 3.5)]
    for rating_range in (STARS, (0.5, 5)):
        task = build_task("next-item", users(history), rating_range=rating_range)
        assert targets_of(task) == [1]
        assert 3.5 < positive_from(rating_range) <= 4


def test_random_20pct_is_independent_of_other_users():
    one, other = [(item, 5) for item in range(30)], [(item, 4) for item in range(5, 25)]
    alone = build_task("random-20pct", users(one, ids=["ann"]), rating_range=STARS)
    together = build_task("random-20pct", users(other, one, ids=["bartholomew", "ann"]), rating_range=STARS)
    assert targets_of(alone, 0) == targets_of(together, 1)


def test_random_20pct_differs_by_user_and_seed():
    items = [(item, 5) for item in range(40)]
    first = build_task("random-20pct", users(items, items), rating_range=STARS, seed=1)
    second = build_task("random-20pct", users(items, items), rating_range=STARS, seed=2)
    draws = {tuple(targets_of(task, user)) for task in (first, second) for user in (0, 1)}
    assert len(draws) == 4


def test_random_20pct_is_uniform():
    items = [(item, 5) for item in range(10)]
    task = build_task("random-20pct", users(*[items] * 4000), rating_range=STARS)
    shares = np.bincount(task.targets, minlength=10) / 4000
    np.testing.assert_allclose(shares, 0.2, atol=4 * np.sqrt(0.2 * 0.8 / 4000))


def test_equal_timestamps_keep_source_order_and_are_noted():
    tied, apart = [(0, 5, 10), (1, 5, 20), (2, 5, 20)], [(0, 5, 10), (1, 5, 20), (2, 5, 30)]
    task = build_task("next-item", users(tied, apart), rating_range=STARS)
    assert targets_of(task) == [2]
    assert items_of(task.inputs, 0) == [0, 1]
    assert "For 50% of the users" in task.note


def test_unknown_timestamps_are_not_ties():
    task = build_task("next-item", users(TIMELINE), rating_range=STARS)
    assert "For 0% of the users" in task.note


def test_each_task_has_its_horizon():
    assert {name: task_horizon(name) for name in TASK_TITLES} == {
        "top-rated": "overall",
        "random-20pct": "overall",
        "next-item": "next",
        "last-20pct": "next",
        "global-temporal": "next",
    }


def test_chunks_have_the_same_users_and_targets():
    each = [[(item, 1 + (item + user) % 5) for item in range(3 + user)] for user in range(7)]
    task = build_task("top-rated", users(*each), rating_range=STARS)
    parts = list(task.chunks(2))
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert [targets_of(part, user) for part in parts for user in range(len(part))] == [
        targets_of(task, user) for user in range(len(task))
    ]
    np.testing.assert_array_equal(np.concatenate([part.inputs.items for part in parts]), task.inputs.items)


def test_task_without_users_is_empty():
    task = build_task("top-rated", users([(0, 5)]), rating_range=STARS)
    assert (len(task), task.excluded_users, len(task.targets)) == (0, 1, 0)


def test_unknown_task_is_refused():
    with pytest.raises(
        SettingsError, match=r"^task: 'past'\. Expected one of top-rated, random-20pct, next-item"
    ):
        build_task("past", users(TIMELINE), rating_range=STARS)
    with pytest.raises(SettingsError, match=r"^task 'fold-in' is now 'random-20pct'$"):
        build_task("fold-in", users(TIMELINE), rating_range=STARS)


def test_global_temporal_without_temporal_split_is_refused():
    with pytest.raises(SettingsError, match=r"^task global-temporal: the data have no split timestamp"):
        build_task("global-temporal", users(TIMELINE), rating_range=STARS)
