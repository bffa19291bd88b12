from __future__ import annotations

import numpy as np
import pytest

from tastevec.data.value_scale import HALF_STARS, ValueScale, normalize_ratings
from tastevec.errors import SettingsError
from tastevec.evaluation.tasks import TASK_TITLES, Task, build_task, reason_to_skip, task_horizon
from users import TAGGED, items_of, users, valued

A, B, C, D, E, F, G, H, I = range(9)  # noqa: E741 - the items of the docstring's timeline
TIMELINE = [(A, 5), (B, 2), (C, TAGGED), (D, 4), (E, 5), (F, 3), (G, 4), (H, 4), (I, 1)]
STARS = ValueScale.explicit(1, 5)
PLAYS = ValueScale.strength("weighted", positive_from=1, top=100)
ONCE = ValueScale.strength("implicit", positive_from=1, top=1)


def targets_of(task: Task, user: int = 0) -> list[int]:
    return task.targets[task.offsets[user] : task.offsets[user + 1]].tolist()


def test_top_rated_holds_out_all_items_of_top_rating():
    task = build_task("top-rated", users(TIMELINE), scale=STARS)
    assert targets_of(task) == [A, E]
    assert items_of(task.inputs, 0) == [B, C, D, F, G, H, I]


def test_random_20pct_holds_out_one_of_five_positives():
    task = build_task("random-20pct", users(TIMELINE), scale=STARS)
    [hidden] = targets_of(task)
    assert hidden in {A, D, E, G, H}
    assert items_of(task.inputs, 0) == [item for item in range(9) if item != hidden]


def test_next_item_holds_out_last_positive():
    task = build_task("next-item", users(TIMELINE), scale=STARS)
    assert (task.name, targets_of(task), items_of(task.inputs, 0)) == (
        "next-item",
        [H],
        [A, B, C, D, E, F, G],
    )


def test_last_20pct_holds_out_last_positives():
    history = [(item, 5 if item % 2 else 1) for item in range(21)]  # ten positives: 1, 3, ..., 19
    task = build_task("last-20pct", users(history), scale=STARS)
    assert (task.name, targets_of(task)) == ("last-20pct", [17, 19])
    assert items_of(task.inputs, 0) == list(range(17))


def test_held_out_ratings_do_not_change_normalization():
    task = build_task("top-rated", users([(0, 5), (1, 3), (2, 1)]), scale=STARS)
    np.testing.assert_array_equal(
        task.inputs.normalized_ratings, [1, -1]
    )  # with the 5, item 1 would be the mean
    later = build_task("next-item", users([(0, 1), (1, 2), (2, 5)]), scale=STARS)
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
    task = build_task(name, users(history, enough), scale=STARS)
    assert task.excluded_users == 1, why
    assert task.inputs.user_ids.tolist() == [2]


def test_positive_starts_at_four_stars_on_both_scales():
    history = [(0, 1), (1, 4), (2, 3.5)]
    for scale in (STARS, HALF_STARS):
        task = build_task("next-item", users(history), scale=scale)
        assert targets_of(task) == [1]
        assert 3.5 < scale.positive_from <= 4


def test_random_20pct_is_independent_of_other_users():
    one, other = [(item, 5) for item in range(30)], [(item, 4) for item in range(5, 25)]
    alone = build_task("random-20pct", users(one, ids=["ann"]), scale=STARS)
    together = build_task("random-20pct", users(other, one, ids=["bartholomew", "ann"]), scale=STARS)
    assert targets_of(alone, 0) == targets_of(together, 1)


def test_random_20pct_differs_by_user_and_seed():
    items = [(item, 5) for item in range(40)]
    first = build_task("random-20pct", users(items, items), scale=STARS, seed=1)
    second = build_task("random-20pct", users(items, items), scale=STARS, seed=2)
    draws = {tuple(targets_of(task, user)) for task in (first, second) for user in (0, 1)}
    assert len(draws) == 4


def test_random_20pct_is_uniform():
    items = [(item, 5) for item in range(10)]
    task = build_task("random-20pct", users(*[items] * 4000), scale=STARS)
    shares = np.bincount(task.targets, minlength=10) / 4000
    np.testing.assert_allclose(shares, 0.2, atol=4 * np.sqrt(0.2 * 0.8 / 4000))


def test_equal_timestamps_keep_source_order_and_are_noted():
    tied, apart = [(0, 5, 10), (1, 5, 20), (2, 5, 20)], [(0, 5, 10), (1, 5, 20), (2, 5, 30)]
    task = build_task("next-item", users(tied, apart), scale=STARS)
    assert targets_of(task) == [2]
    assert items_of(task.inputs, 0) == [0, 1]
    assert "For 50% of the users" in task.note


def test_unknown_timestamps_are_not_ties():
    task = build_task("next-item", users(TIMELINE), scale=STARS)
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
    task = build_task("top-rated", users(*each), scale=STARS)
    parts = list(task.chunks(2))
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert [targets_of(part, user) for part in parts for user in range(len(part))] == [
        targets_of(task, user) for user in range(len(task))
    ]
    np.testing.assert_array_equal(np.concatenate([part.inputs.items for part in parts]), task.inputs.items)


def test_task_without_users_is_empty():
    task = build_task("top-rated", users([(0, 5)]), scale=STARS)
    assert (len(task), task.excluded_users, len(task.targets)) == (0, 1, 0)


def test_unknown_task_is_refused():
    with pytest.raises(
        SettingsError, match=r"^task: 'past'\. Expected one of top-rated, random-20pct, next-item"
    ):
        build_task("past", users(TIMELINE), scale=STARS)
    with pytest.raises(SettingsError, match=r"^task 'fold-in' is now 'random-20pct'$"):
        build_task("fold-in", users(TIMELINE), scale=STARS)


def test_global_temporal_without_temporal_split_is_refused():
    with pytest.raises(SettingsError, match=r"^task global-temporal: the data have no split timestamp"):
        build_task("global-temporal", users(TIMELINE), scale=STARS)


def test_negative_is_input_and_never_held_out():
    events = valued(PLAYS, [(A, 3), (B, -1), (C, 2), (D, -1)], [(A, -1), (B, -2)])
    for name in ("top-rated", "next-item", "last-20pct"):
        task = build_task(name, events, scale=PLAYS)
        assert task.inputs.user_ids.tolist() == [1]  # the other user has negatives alone
        assert B in items_of(task.inputs, 0)
        assert not {B, D} & set(targets_of(task))


def test_input_keeps_normalized_values_of_weighted_feedback():
    plays = valued(PLAYS, [(A, 1), (B, 10), (C, 100)])
    task = build_task("top-rated", plays, scale=PLAYS)
    assert (targets_of(task), task.inputs.normalized_ratings.tolist()) == ([C], [0.5, 0.75])


def test_positive_from_of_the_scale_decides_what_is_held_out():
    history = [(A, 2), (B, 3), (C, 4), (D, 2)]
    assert targets_of(build_task("next-item", users(history), scale=STARS)) == [C]
    assert targets_of(build_task("next-item", users(history), scale=ValueScale.explicit(1, 5, 2))) == [D]


@pytest.mark.parametrize(
    ("name", "scale", "order", "reason"),
    [
        ("next-item", STARS, "none", "there is no order in time"),
        ("last-20pct", PLAYS, "none", "there is no order in time"),
        ("global-temporal", STARS, "none", "there is no order in time"),
        ("random-20pct", ONCE, "none", None),
        ("top-rated", PLAYS, "none", None),
        ("top-rated", ONCE, "file", "implicit feedback has no value above others"),
        ("next-item", ONCE, "file", None),
    ],
)
def test_reason_to_skip_depends_on_feedback_and_order(name, scale, order, reason):
    assert reason_to_skip(name, scale, order) == reason
