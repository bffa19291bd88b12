"""What no evaluation may do, whatever it measures: each check fails on one kind of leak.

``tests/evaluation/test_leaks.py`` plants every leak and sees its check fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tastevec.data.histories import normalize_ratings
from users import items_of, rows_of, turned

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tastevec.data.histories import Histories
    from tastevec.evaluation.dataset import EvalDataset
    from tastevec.evaluation.tasks import Task


def hidden_of(task: Task, user: int = 0) -> list[int]:
    """The hidden films of one person, in the order of his history."""
    return task.targets[task.offsets[user] : task.offsets[user + 1]].tolist()


def assert_no_target_is_known(task: Task) -> None:
    """No film that is asked for stands in the history that is shown."""
    for user in range(len(task)):
        leaked = set(hidden_of(task, user)) & set(items_of(task.inputs, user))
        assert not leaked, f"user {task.inputs.user_ids[user]} is shown the films he is asked for: {leaked}"


def assert_nothing_is_invented(task: Task, histories: Histories) -> None:
    """What is known and what is hidden happened, in this order, to this person, and each has some of both."""
    place = {user: owner for owner, user in enumerate(histories.user_ids.tolist())}
    assert len(task) + task.excluded_users == len(histories)
    for owner, user in enumerate(task.inputs.user_ids.tolist()):
        everything = rows_of(histories, place[user])
        known, hidden = rows_of(task.inputs, owner), hidden_of(task, owner)
        assert known
        assert hidden
        assert known == [row for row in everything if row in set(known)]
        timestamps = task.timestamps[task.offsets[owner] : task.offsets[owner + 1]].tolist()
        happened = {(item, time) for item, _, time in everything}
        assert set(zip(hidden, timestamps, strict=True)) <= happened


def assert_statistics_are_of_known(task: Task) -> None:
    """A person's scale is that of the ratings which are shown, and no hidden rating moves it."""
    expected = normalize_ratings(task.inputs.ratings, task.inputs.offsets)
    np.testing.assert_array_equal(task.inputs.normalized_ratings, expected)


def assert_nothing_after_the_first_hidden(task: Task, histories: Histories) -> None:
    """Whatever is shown stood before the first hidden film, in the history and in time."""
    place = {user: owner for owner, user in enumerate(histories.user_ids.tolist())}
    for owner, user in enumerate(task.inputs.user_ids.tolist()):
        everything = items_of(histories, place[user])
        first = everything.index(hidden_of(task, owner)[0])
        late = set(items_of(task.inputs, owner)) - set(everything[:first])
        assert not late, f"user {user} is shown films of the future: {late}"
        shown = slice(task.inputs.offsets[owner], task.inputs.offsets[owner + 1])
        assert task.inputs.timestamps[shown].max() <= task.timestamps[task.offsets[owner]]


def assert_nothing_from_the_cut_on(histories: Histories, cut: int) -> None:
    """Nothing of these histories happened at or after ``cut``."""
    assert (histories.timestamps < cut).all(), "somebody learns from what happened after the cut"


def assert_asked_are_not_taught(dataset: EvalDataset) -> None:
    """Nobody who is asked has taught."""
    both = np.intersect1d(dataset.train.user_ids, dataset.held_out_users.user_ids)
    assert not len(both), f"taught and asked: {both}"


def assert_asked_move_nothing(
    statistic: Callable[[EvalDataset], NDArray[np.generic]], dataset: EvalDataset
) -> None:
    """``statistic`` has the same bytes when the people who are asked have rated everything the other way round."""
    other = type(dataset)(
        dataset.train,
        turned(dataset.held_out_users, dataset.rating_range),
        dataset.items,
        dataset.rating_range,
    )
    assert statistic(dataset).tobytes() == statistic(other).tobytes(), (
        "the people who are asked move a statistic"
    )
