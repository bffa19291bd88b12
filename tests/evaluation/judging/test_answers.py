from __future__ import annotations

import numpy as np
import pytest

from fakes import Fixed, Summed
from tastevec.data.histories import normalize_ratings
from tastevec.errors import DataError
from tastevec.evaluation import scorers as module
from tastevec.evaluation.scorers import keep_only, measure, rank_lists, with_horizon
from tastevec.evaluation.tasks import build_task
from users import users

STARS = (1, 5)
USERS = users([(0, 5), (1, 1), (2, 5)], [(3, 1), (0, 2), (2, 4)])


@pytest.fixture
def task():
    """Film 2 is hidden of both; the first knows 0 and 1, the second 3 and 0."""
    return build_task("next-item", USERS, rating_range=STARS)


def test_the_place_of_a_hidden_film_is_counted_without_the_persons_own(task):
    told = rank_lists(Fixed([0, 5, 3, 4, 1]), task, 5, 3)
    assert told.ranked.dtype == np.int32
    assert told.ranked.tolist() == [[3, 2, 4], [1, 2, 4]]
    assert told.ranks.tolist() == [1, 1]


def test_who_knows_the_answer_scores_one_and_who_knows_the_opposite_zero(task):
    right, wrong = (measure(Fixed(scores), task, 5, (1, 2)) for scores in ([0, 0, 1, 0, 0], [0, 0, -1, 0, 0]))
    assert list(right) == ["hr@1", "recall@1", "ndcg@1", "mrr@1", "hr@2", "recall@2", "ndcg@2", "mrr@2"]
    assert all((values == 1).all() for values in right.values())
    assert all((values == 0).all() for values in wrong.values())


def test_people_are_scored_in_chunks_that_change_nothing(task, monkeypatch):
    scorer = Summed(np.random.default_rng(0).standard_normal((5, 3)))
    whole = rank_lists(scorer, task, 5, 4)
    monkeypatch.setattr(module, "_CELLS", 5)
    parts = rank_lists(scorer, task, 5, 4)
    assert [len(seen) for seen in scorer.seen] == [2, 1, 1]
    np.testing.assert_array_equal(parts.ranked, whole.ranked)
    np.testing.assert_array_equal(parts.ranks, whole.ranks)


def test_scores_of_another_catalogue_are_refused(task):
    with pytest.raises(
        DataError, match=r"fixed: scores of shape 2 x 7. Expected 2 x 5, users x items of these data"
    ):
        measure(Fixed(np.zeros(7)), task, 5, (1,))


def test_scores_that_are_no_numbers_are_refused(task):
    with pytest.raises(DataError, match=r"score of item 4 for user 1: nan\. Expected a finite number"):
        measure(Fixed([0, 0, 0, 0, np.nan]), task, 5, (1,))


def test_a_scorer_of_two_horizons_is_asked_for_that_of_the_task(task):
    class Both(Fixed):
        def at_horizon(self, horizon):
            return Fixed([0], name=horizon)

    assert with_horizon(Both([0]), task).name == "next"
    assert with_horizon(Fixed([0]), task).name == "fixed"


def test_films_that_are_not_told_leave_no_trace_in_the_normalised_ratings():
    told = keep_only(USERS, np.array([True, True, False, False, True, True]))
    assert told.items.tolist() == [0, 1, 0, 2]
    assert (
        told.normalized_ratings.tolist()
        == normalize_ratings(told.ratings, told.offsets).tolist()
        == [1, -1, -1, 1]
    )
