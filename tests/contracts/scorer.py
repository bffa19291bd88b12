"""The scorer contract: subclass ``ScorerContract`` and provide a factory of unfitted scorers."""

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
    """The contract over the tiny world: 5 users of each taste train, the sixth of each is held out."""

    close: ClassVar = {"rtol": 1e-4, "atol": 1e-5}

    @pytest.fixture
    def make(self) -> object:
        """Return a factory of unfitted scorers for the tiny world's 20 items; each subclass has its own."""
        raise NotImplementedError

    @pytest.fixture
    def fitted(self, make) -> Scorer:
        scorer = make()
        scorer.fit(world().take(np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])), worlds.ITEMS)
        return scorer

    @pytest.fixture
    def held_out(self) -> Histories:
        return world().take(np.array([5, 11, 5]))

    def test_scorer_has_name(self, fitted):
        assert isinstance(fitted, Scorer)
        assert fitted.name

    def test_scores_of_held_out_users_are_finite(self, fitted, held_out):
        scores = fitted.score(held_out)
        assert scores.shape == (3, worlds.ITEMS)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_batch_equals_single_users(self, fitted, held_out):
        single = np.concatenate([fitted.score(part) for part in held_out.chunks(1)])
        np.testing.assert_allclose(fitted.score(held_out), single, **self.close)

    def test_order_of_users_changes_nothing(self, fitted, held_out):
        order = np.array([2, 0, 1])
        np.testing.assert_allclose(
            fitted.score(held_out.take(order)), fitted.score(held_out)[order], **self.close
        )

    def test_user_id_changes_nothing(self, fitted):
        history = [(0, 5, 10), (3, 4, 20), (14, 1, 30)]
        scores = fitted.score(users(history, history, ids=["ann", "never seen"]))
        np.testing.assert_allclose(scores[0], scores[1], **self.close)

    def test_empty_history_is_scored(self, fitted):
        scores = fitted.score(users([], [(0, 5, 10)]))
        assert scores.shape == (2, worlds.ITEMS)
        assert np.isfinite(scores).all()

    def test_history_without_positives_timestamps_or_ratings_is_scored(self, fitted):
        assert np.isfinite(fitted.score(users([(0, 1), (1, 2)], [(2, TAGGED)]))).all()

    def test_score_changes_neither_histories_nor_scorer(self, fitted, held_out):
        before = held_out.ratings.copy()
        first = fitted.score(held_out)
        first_copy = first.copy()
        first[:] = -1  # a caller may use its scores up
        np.testing.assert_array_equal(fitted.score(held_out), first_copy)
        np.testing.assert_array_equal(held_out.ratings, before)

    def test_fit_is_deterministic(self, fitted, make, held_out):
        again = make()
        again.fit(world().take(np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])), worlds.ITEMS)
        np.testing.assert_array_equal(again.score(held_out), fitted.score(held_out))

    def test_fit_twice_equals_fit_once(self, fitted, held_out):
        once = fitted.score(held_out)
        fitted.fit(world().take(np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])), worlds.ITEMS)
        np.testing.assert_array_equal(fitted.score(held_out), once)

    def test_scores_of_each_horizon_cover_the_catalog(self, fitted, held_out):
        for horizon in ("overall", "next"):
            task_record = fitted.at_horizon(horizon) if isinstance(fitted, HorizonScorer) else fitted
            assert task_record.score(held_out).shape == (3, worlds.ITEMS)

    def test_user_vectors_have_dimension_of_item_vectors(self, fitted, held_out):
        if not isinstance(fitted, VectorScorer):
            pytest.skip("this scorer has no vectors")
        vectors = fitted.vectors(held_out)
        assert vectors.shape == (3, fitted.item_vectors.shape[1])
        assert fitted.item_vectors.shape[0] == worlds.ITEMS
        assert np.isfinite(vectors).all()
        assert fitted.space
