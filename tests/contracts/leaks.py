"""Leak checks: each one fails on one kind of leak.

``tests/evaluation/test_leaks.py`` plants every leak, on which its check must fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.value_scale import normalize_ratings
from users import items_of, rows_of, turned

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.tasks import Task


def targets_of(task: Task, user: int = 0) -> list[int]:
    """Return the held-out items of one user, in history order."""
    return task.targets[task.offsets[user] : task.offsets[user + 1]].tolist()


def assert_no_target_is_input(task: Task) -> None:
    """Check that no held-out item is an input item."""
    for user in range(len(task)):
        leaked = set(targets_of(task, user)) & set(items_of(task.inputs, user))
        assert not leaked, f"user {task.inputs.user_ids[user]} has held-out items in the input: {leaked}"


def assert_targets_are_real(task: Task, histories: Histories) -> None:
    """Check that input and held-out items are of the user's history, in its order, and that no user lacks either."""
    place = {user: owner for owner, user in enumerate(histories.user_ids.tolist())}
    assert len(task) + task.excluded_users == len(histories)
    for owner, user in enumerate(task.inputs.user_ids.tolist()):
        everything = rows_of(histories, place[user])
        known, hidden = rows_of(task.inputs, owner), targets_of(task, owner)
        assert known
        assert hidden
        assert known == [row for row in everything if row in set(known)]
        timestamps = task.timestamps[task.offsets[owner] : task.offsets[owner + 1]].tolist()
        happened = {(item, time) for item, _, time in everything}
        assert set(zip(hidden, timestamps, strict=True)) <= happened


def assert_normalized_by_inputs(task: Task) -> None:
    """Check that ratings are normalized by the input alone."""
    expected = normalize_ratings(task.inputs.ratings, task.inputs.offsets)
    np.testing.assert_array_equal(task.inputs.normalized_ratings, expected)


def assert_nothing_after_first_target(task: Task, histories: Histories) -> None:
    """Check that all input precedes the first held-out item, in the history and in time."""
    place = {user: owner for owner, user in enumerate(histories.user_ids.tolist())}
    for owner, user in enumerate(task.inputs.user_ids.tolist()):
        everything = items_of(histories, place[user])
        first = everything.index(targets_of(task, owner)[0])
        late = set(items_of(task.inputs, owner)) - set(everything[:first])
        assert not late, f"user {user} has later items in the input: {late}"
        shown = slice(task.inputs.offsets[owner], task.inputs.offsets[owner + 1])
        assert task.inputs.timestamps[shown].max() <= task.timestamps[task.offsets[owner]]


def assert_nothing_from_split_timestamp(histories: Histories, cut: int) -> None:
    """Check that all interactions precede the split timestamp."""
    assert (histories.timestamps < cut).all(), "training data after the split timestamp"


def assert_users_are_disjoint(dataset: EvalDataset) -> None:
    """Check that training and held-out users are disjoint."""
    both = np.intersect1d(dataset.train.user_ids, dataset.held_out_users.user_ids)
    assert not len(both), f"training and held-out users: {both}"


def assert_held_out_users_change_nothing(
    statistic: Callable[[EvalDataset], NDArray[np.generic]], dataset: EvalDataset
) -> None:
    """Check that ``statistic`` has equal bytes with the ratings of the held-out users inverted."""
    other = type(dataset)(
        dataset.train,
        turned(dataset.held_out_users, dataset.scale),
        dataset.items,
        dataset.scale,
    )
    assert statistic(dataset).tobytes() == statistic(other).tobytes(), "held-out users change a statistic"
