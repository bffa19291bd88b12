"""Who teaches, who is asked, how the folder was divided, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tastevec.errors import DataError, UnknownItemError
from users import plain_dataset, users

STARS = (1, 5)
TAUGHT = users([(0, 5, 10), (1, 4, 20)])
ASKED = users([(0, 5, 10), (1, 4, 20), (2, 1, 30)], ids=[7])


def dataset(train=TAUGHT, unseen=ASKED, items=3):
    return plain_dataset(train, unseen, items, STARS)


def test_an_empty_test_set_is_one_sentence():
    with pytest.raises(
        DataError, match=r"^there is nobody to ask: the split holds 0 users; expected 1 or more; "
    ):
        dataset(unseen=users())


def test_a_person_who_is_taught_and_asked_is_one_sentence():
    with pytest.raises(DataError, match=r"^1 users are both taught and asked, user 1 among them"):
        dataset(unseen=replace(ASKED, user_ids=np.array([1])))


def test_a_person_with_one_film_is_left_out_and_counted():
    mixed = users([(0, 5, 10)], [(0, 5, 10), (1, 4, 20), (2, 1, 30)], ids=[6, 7])
    for task in (*dataset(unseen=mixed).tasks("best-rated"), *dataset(unseen=mixed).tasks("future")):
        assert (task.left_out, task.known.user_ids.tolist()) == (1, [7])


@pytest.mark.parametrize("protocol", ["best-rated", "fold-in", "future"])
def test_people_of_whom_each_has_one_film_are_one_sentence(protocol):
    told = "^none of the 2 users can be asked [-a-z]+: nobody has both a film to hide and a film to know; "
    with pytest.raises(DataError, match=told):
        dataset(unseen=users([(0, 5, 10)], [(1, 5, 10)], ids=[6, 7])).tasks(protocol)


@pytest.mark.parametrize("item", [3, -1])
def test_a_film_unknown_to_the_catalogue_is_one_sentence(item):
    strange = users([(0, 5, 10), (item, 4, 20)], ids=["ann"])
    told = f"^the history of user ann holds film {item}, and the catalogue has films 0 to 2; expected .*; take people"
    with pytest.raises(UnknownItemError, match=told):
        dataset(train=users([(0, 5, 10), (1, 4, 20)], ids=["bob"]), unseen=strange)


def test_a_film_unknown_to_the_catalogue_is_refused_in_training_histories_too():
    with pytest.raises(UnknownItemError, match=r"^the history of user 1 holds film 5"):
        replace(dataset(), train=users([(0, 5, 10), (5, 4, 20)]))


def test_a_film_that_somebody_has_twice_is_one_sentence():
    twice = users([(0, 5, 10), (1, 5, 20), (0, 5, 30)], ids=[7])
    with pytest.raises(DataError, match=r"^film 0 of user 7 is both hidden and known in the task next-liked"):
        dataset(unseen=twice).tasks("future")
