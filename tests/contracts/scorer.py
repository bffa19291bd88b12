"""What every scorer must keep: subclass ``ScorerContract`` and give it a way to make a fresh scorer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

import worlds
from tastevec.evaluation.scorers import HorizonScorer, Scorer, VectorScorer
from users import TAGGED, users, world

if TYPE_CHECKING:
    from tastevec.data.histories import Histories


class ScorerContract:
    """The contract over the tiny world: its first 5 people of each taste train, the sixth of each is unseen."""

    close: ClassVar = {"rtol": 1e-4, "atol": 1e-5}

    @pytest.fixture
    def make(self) -> object:
        """A callable that makes an unfitted scorer for the tiny world's 20 films; each subclass gives its own."""
        raise NotImplementedError

    @pytest.fixture
    def fitted(self, make) -> Scorer:
        scorer = make()
        scorer.fit(world().take(np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])), worlds.ITEMS)
        return scorer

    @pytest.fixture
    def unseen(self) -> Histories:
        return world().take(np.array([5, 11, 5]))

    def test_it_is_a_scorer_with_a_name(self, fitted):
        assert isinstance(fitted, Scorer)
        assert fitted.name

    def test_it_scores_every_film_for_people_never_seen_with_finite_numbers(self, fitted, unseen):
        scores = fitted.score(unseen)
        assert scores.shape == (3, worlds.ITEMS)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_a_batch_equals_one_person_at_a_time(self, fitted, unseen):
        single = np.concatenate([fitted.score(part) for part in unseen.chunks(1)])
        np.testing.assert_allclose(fitted.score(unseen), single, **self.close)

    def test_user_order_changes_nothing(self, fitted, unseen):
        order = np.array([2, 0, 1])
        np.testing.assert_allclose(
            fitted.score(unseen.take(order)), fitted.score(unseen)[order], **self.close
        )

    def test_the_id_of_a_person_changes_nothing(self, fitted):
        history = [(0, 5, 10), (3, 4, 20), (14, 1, 30)]
        scores = fitted.score(users(history, history, ids=["ann", "never seen"]))
        np.testing.assert_allclose(scores[0], scores[1], **self.close)

    def test_an_empty_history_is_scored(self, fitted):
        scores = fitted.score(users([], [(0, 5, 10)]))
        assert scores.shape == (2, worlds.ITEMS)
        assert np.isfinite(scores).all()

    def test_a_history_without_likes_times_or_ratings_is_scored(self, fitted):
        assert np.isfinite(fitted.score(users([(0, 1), (1, 2)], [(2, TAGGED)]))).all()

    def test_scoring_leaves_the_histories_and_the_scorer_as_they_were(self, fitted, unseen):
        before = unseen.ratings.copy()
        first = fitted.score(unseen)
        first_copy = first.copy()
        first[:] = -1  # a caller may use its scores up
        np.testing.assert_array_equal(fitted.score(unseen), first_copy)
        np.testing.assert_array_equal(unseen.ratings, before)

    def test_fitting_again_gives_the_same_scores(self, fitted, make, unseen):
        again = make()
        again.fit(world().take(np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])), worlds.ITEMS)
        np.testing.assert_array_equal(again.score(unseen), fitted.score(unseen))

    def test_fitting_twice_is_fitting_once(self, fitted, unseen):
        once = fitted.score(unseen)
        fitted.fit(world().take(np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])), worlds.ITEMS)
        np.testing.assert_array_equal(fitted.score(unseen), once)

    def test_it_answers_each_question_for_every_film(self, fitted, unseen):
        for horizon in ("overall", "next"):
            asked = fitted.at_horizon(horizon) if isinstance(fitted, HorizonScorer) else fitted
            assert asked.score(unseen).shape == (3, worlds.ITEMS)

    def test_its_vectors_if_any_stand_in_the_space_of_its_films(self, fitted, unseen):
        if not isinstance(fitted, VectorScorer):
            pytest.skip("this scorer has no vectors")
        vectors = fitted.vectors(unseen)
        assert vectors.shape == (3, fitted.item_vectors.shape[1])
        assert fitted.item_vectors.shape[0] == worlds.ITEMS
        assert np.isfinite(vectors).all()
        assert fitted.space
