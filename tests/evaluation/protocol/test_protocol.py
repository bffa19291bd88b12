from __future__ import annotations

import numpy as np
import pytest

from tastevec.data.histories import normalize_ratings
from tastevec.data.inputs import positive_from
from tastevec.errors import SettingsError
from tastevec.evaluation.tasks import Task, cases
from users import TAGGED, films_of, users

A, B, C, D, E, F, G, H, I = range(9)  # noqa: E741 - the films of the docstring's timeline
TIMELINE = [(A, 5), (B, 2), (C, TAGGED), (D, 4), (E, 5), (F, 3), (G, 4), (H, 4), (I, 1)]
STARS = (1, 5)


def hidden_of(task: Task, user: int = 0) -> list[int]:
    return task.targets[task.offsets[user] : task.offsets[user + 1]].tolist()


def test_best_rated_hides_every_film_of_the_top_rating():
    [task] = cases(users(TIMELINE), protocol="best-rated", rating_range=STARS)
    assert hidden_of(task) == [A, E]
    assert films_of(task.known, 0) == [B, C, D, F, G, H, I]


def test_fold_in_hides_a_fifth_of_the_liked_films_and_leaves_the_rest():
    [task] = cases(users(TIMELINE), protocol="fold-in", rating_range=STARS)
    [hidden] = hidden_of(task)
    assert hidden in {A, D, E, G, H}
    assert films_of(task.known, 0) == [item for item in range(9) if item != hidden]


def test_future_asks_for_the_last_liked_film_from_what_came_before():
    task, _ = cases(users(TIMELINE), protocol="future", rating_range=STARS)
    assert (task.name, hidden_of(task), films_of(task.known, 0)) == ("next-liked", [H], [A, B, C, D, E, F, G])


def test_future_asks_for_the_last_fifth_of_the_liked_films():
    history = [(item, 5 if item % 2 else 1) for item in range(21)]  # ten liked films: 1, 3, ..., 19
    _, task = cases(users(history), protocol="future", rating_range=STARS)
    assert (task.name, hidden_of(task)) == ("last-20%", [17, 19])
    assert films_of(task.known, 0) == list(range(17))


def test_the_hidden_films_are_not_in_the_statistics_of_their_person():
    [task] = cases(users([(0, 5), (1, 3), (2, 1)]), protocol="best-rated", rating_range=STARS)
    np.testing.assert_array_equal(
        task.known.normalized_ratings, [1, -1]
    )  # with the 5, film 1 would be the mean
    later, _ = cases(users([(0, 1), (1, 2), (2, 5)]), protocol="future", rating_range=STARS)
    np.testing.assert_array_equal(
        later.known.normalized_ratings, normalize_ratings(np.array([1, 2], np.float32), np.array([0, 2]))
    )


@pytest.mark.parametrize(
    ("protocol", "history", "why"),
    [
        ("best-rated", [(0, 5)], "one film"),
        ("best-rated", [(0, 5), (1, 5)], "every film is a top film"),
        ("best-rated", [(0, TAGGED), (1, TAGGED)], "nothing is rated"),
        ("fold-in", [(0, 5), (1, 5), (2, 5), (3, 5), (4, 3)], "four liked films"),
        ("future", [(0, 5), (1, 1)], "nothing before the liked film"),
        ("future", [(0, 3), (1, 3)], "nothing liked"),
    ],
)
def test_people_without_enough_are_counted_and_not_asked(protocol, history, why):
    enough = [(item, 4) for item in range(5)] + [(5, 5)]
    for task in cases(users(history, enough), protocol=protocol, rating_range=STARS):
        assert task.left_out == 1, why
        assert task.known.user_ids.tolist() == [2]


def test_liking_starts_at_four_stars_on_both_scales():
    history = [(0, 1), (1, 4), (2, 3.5)]
    for rating_range in (STARS, (0.5, 5)):
        task, _ = cases(users(history), protocol="future", rating_range=rating_range)
        assert hidden_of(task) == [1]
        assert 3.5 < positive_from(rating_range) <= 4


def test_what_fold_in_hides_of_a_person_does_not_depend_on_the_others():
    one, other = [(item, 5) for item in range(30)], [(item, 4) for item in range(5, 25)]
    alone = cases(users(one, ids=["ann"]), protocol="fold-in", rating_range=STARS)[0]
    together = cases(users(other, one, ids=["bartholomew", "ann"]), protocol="fold-in", rating_range=STARS)[0]
    assert hidden_of(alone, 0) == hidden_of(together, 1)


def test_fold_in_draws_anew_for_each_person_and_each_seed():
    items = [(item, 5) for item in range(40)]
    first = cases(users(items, items), protocol="fold-in", rating_range=STARS, seed=1)[0]
    second = cases(users(items, items), protocol="fold-in", rating_range=STARS, seed=2)[0]
    draws = {tuple(hidden_of(task, user)) for task in (first, second) for user in (0, 1)}
    assert len(draws) == 4


def test_fold_in_hides_each_film_equally_often():
    items = [(item, 5) for item in range(10)]
    task = cases(users(*[items] * 4000), protocol="fold-in", rating_range=STARS)[0]
    shares = np.bincount(task.targets, minlength=10) / 4000
    np.testing.assert_allclose(shares, 0.2, atol=4 * np.sqrt(0.2 * 0.8 / 4000))


def test_films_of_the_same_second_keep_the_order_of_the_source_and_the_note_says_so():
    tied, apart = [(0, 5, 10), (1, 5, 20), (2, 5, 20)], [(0, 5, 10), (1, 5, 20), (2, 5, 30)]
    task, _ = cases(users(tied, apart), protocol="future", rating_range=STARS)
    assert hidden_of(task) == [2]
    assert films_of(task.known, 0) == [0, 1]
    assert task.note.startswith("50% of the people")


def test_unknown_times_are_not_ties():
    task, _ = cases(users(TIMELINE), protocol="future", rating_range=STARS)
    assert task.note.startswith("0% of the people")


def test_each_task_says_which_vector_it_asks_for():
    asked = [
        (task.protocol, task.horizon)
        for protocol in ("best-rated", "fold-in", "future")
        for task in cases(users(TIMELINE), protocol=protocol, rating_range=STARS)
    ]
    assert asked == [
        ("best-rated", "overall"),
        ("fold-in", "overall"),
        ("future", "next"),
        ("future", "next"),
    ]


def test_chunks_are_the_same_questions_in_groups():
    each = [[(item, 1 + (item + user) % 5) for item in range(3 + user)] for user in range(7)]
    [task] = cases(users(*each), protocol="best-rated", rating_range=STARS)
    parts = list(task.chunks(2))
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert [hidden_of(part, user) for part in parts for user in range(len(part))] == [
        hidden_of(task, user) for user in range(len(task))
    ]
    np.testing.assert_array_equal(np.concatenate([part.known.items for part in parts]), task.known.items)


def test_nobody_asked_is_an_empty_task():
    [task] = cases(users([(0, 5)]), protocol="best-rated", rating_range=STARS)
    assert (len(task), task.left_out, len(task.targets)) == (0, 1, 0)


def test_another_protocol_is_refused_by_name():
    with pytest.raises(SettingsError, match="'past'; expected best-rated, fold-in or future"):
        cases(users(TIMELINE), protocol="past", rating_range=STARS)
