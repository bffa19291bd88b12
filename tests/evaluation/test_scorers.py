from __future__ import annotations

import numpy as np
import pytest

from fakes import Fixed, Summed
from tastevec.data.value_scale import ValueScale, normalize_ratings
from tastevec.errors import DataError
from tastevec.evaluation import scorers as module
from tastevec.evaluation.scorers import measure, rank_lists, with_horizon
from tastevec.evaluation.tasks import build_task
from users import users

STARS = ValueScale.explicit(1, 5)
USERS = users([(0, 5), (1, 1), (2, 5)], [(3, 1), (0, 2), (2, 4)])


@pytest.fixture
def task():
    """Item 2 is held out of both users; input items are 0 and 1, and 3 and 0."""
    return build_task("next-item", USERS, scale=STARS)


def test_rank_of_held_out_item_excludes_input_items(task):
    found_text = rank_lists(Fixed([0, 5, 3, 4, 1]), task, 5, 3)
    assert found_text.ranked.dtype == np.int32
    assert found_text.ranked.tolist() == [[3, 2, 4], [1, 2, 4]]
    assert found_text.ranks.tolist() == [1, 1]


def test_perfect_scorer_has_one_and_inverse_scorer_zero(task):
    right, wrong = (measure(Fixed(scores), task, 5, (1, 2)) for scores in ([0, 0, 1, 0, 0], [0, 0, -1, 0, 0]))
    names = ("hr", "recall", "uncapped_recall", "ndcg", "mrr")
    assert list(right) == [f"{name}@{k}" for k in (1, 2) for name in names]
    assert all((values == 1).all() for values in right.values())
    assert all((values == 0).all() for values in wrong.values())


def test_rank_lists_in_chunks_is_equal(task, monkeypatch):
    scorer = Summed(np.random.default_rng(0).standard_normal((5, 3)))
    whole = rank_lists(scorer, task, 5, 4)
    monkeypatch.setattr(module, "_CELLS", 5)
    parts = rank_lists(scorer, task, 5, 4)
    assert [len(seen) for seen in scorer.seen] == [2, 1, 1]
    np.testing.assert_array_equal(parts.ranked, whole.ranked)
    np.testing.assert_array_equal(parts.ranks, whole.ranks)


def test_scores_of_another_catalog_are_refused(task):
    with pytest.raises(
        DataError, match=r"fixed: scores of shape 2 x 7. Expected 2 x 5, users x items of these data"
    ):
        measure(Fixed(np.zeros(7)), task, 5, (1,))


def test_nan_scores_are_refused(task):
    with pytest.raises(DataError, match=r"score of item 4 for user 1: nan\. Expected a finite number"):
        measure(Fixed([0, 0, 0, 0, np.nan]), task, 5, (1,))


def test_with_horizon_uses_horizon_of_task(task):
    class Both(Fixed):
        def at_horizon(self, horizon):
            return Fixed([0], name=horizon)

    assert with_horizon(Both([0]), task).name == "next"
    assert with_horizon(Fixed([0]), task).name == "fixed"


def test_keep_only_normalizes_without_other_rows():
    found_text = USERS.keep_alone(np.array([True, True, False, False, True, True]))
    assert found_text.items.tolist() == [0, 1, 0, 2]
    assert (
        found_text.normalized_ratings.tolist()
        == normalize_ratings(found_text.ratings, found_text.offsets).tolist()
        == [1, -1, -1, 1]
    )
