from __future__ import annotations

import numpy as np
import pytest

from fakes import Fixed, Summed
from tastevec.data.value_scale import ValueScale, normalize_ratings
from tastevec.evaluation import slices as curve
from tastevec.evaluation.scorers import rank_lists
from tastevec.evaluation.slices import HISTORY_LENGTHS, quality_curve
from tastevec.evaluation.tasks import build_task
from users import items_of, users

ITEMS = 40
LONG, SHORT = 12, 2  # known items


@pytest.fixture
def task():
    """Two users whose last item is 30: input items 1 to 12 of the first, 13 and 14 of the second."""
    own = [[(item, 5) for item in range(1, LONG + 1)], [(item, 4) for item in (LONG + 1, LONG + 2)]]
    return build_task(
        "next-item", users(*[[*items, (30, 5)] for items in own]), scale=ValueScale.explicit(1, 5)
    )


def curve_of(scorer, task, seed=1):
    return list(quality_curve(scorer, rank_lists(scorer, task, ITEMS, 100), ITEMS, seed))


def test_quality_curve_scores_longer_histories_again(task):
    scorer = Fixed(np.zeros(ITEMS))
    curve_of(scorer, task)
    found_text = [
        [items_of(seen, user) for user in range(len(seen))] for seen in scorer.seen[1:]
    ]  # [0] knows all
    newest = [list(range(LONG - length + 1, LONG + 1)) for length in HISTORY_LENGTHS if length < LONG]
    assert found_text == [[newest[0], [LONG + 2]], *([items] for items in newest[1:])]


def test_quality_curve_normalizes_shortened_histories(task):
    scorer = Fixed(np.zeros(ITEMS))
    curve_of(scorer, task)
    for seen in scorer.seen:
        np.testing.assert_array_equal(seen.normalized_ratings, normalize_ratings(seen.ratings, seen.offsets))


def test_quality_curve_measures_shortened_histories(task):
    vectors = np.zeros((ITEMS, 2))
    vectors[1 : LONG - 3, 0] = 1  # the older items of the first user point away from item 30
    vectors[LONG - 3 : LONG + 3, 1] = 1
    vectors[30] = [-1, 0.1]
    parts = curve_of(Summed(vectors), task)
    assert {(part.by, part.metric) for part in parts} == {
        ("history_length", "hr@10"),
        ("history_length", "ndcg@10"),
    }
    found = {part.label: part.values.tolist() for part in parts if part.metric == "hr@10"}
    assert list(found) == [str(length) for length in HISTORY_LENGTHS]
    assert found["1"] == found["3"] == [1, 1]
    assert found["10"] == found["200"] == [0, 1]  # of the second user, who has 2 items, nothing changes


def test_quality_curve_excludes_all_items_of_user(task):
    popular = Fixed(np.r_[np.arange(LONG + 1, 0, -1), np.zeros(ITEMS - LONG - 1)])  # the first user's own
    found = {part.label: part.values.tolist() for part in curve_of(popular, task) if part.metric == "hr@10"}
    assert found["1"] == found["200"]


def test_quality_curve_of_several_targets_is_deeper():
    own = [[(item, 5) for item in range(user, user + 12)] for user in range(3)]
    task = build_task("random-20pct", users(*own), scale=ValueScale.explicit(1, 5))
    assert {part.metric for part in curve_of(Fixed(np.arange(ITEMS)), task)} == {"recall@20", "ndcg@100"}


def test_quality_curve_of_many_users_uses_a_sample(task, monkeypatch):
    monkeypatch.setattr(curve, "_CURVE_USERS", 1)
    scorer = Fixed(np.zeros(ITEMS))
    patterns = {
        seed: np.isfinite([part.values for part in curve_of(scorer, task, seed)]) for seed in range(8)
    }
    for pattern in patterns.values():
        assert (pattern.sum(axis=1) == 1).all()
        assert (pattern == pattern[0]).all()  # the same users at every length
    assert len({tuple(pattern[0]) for pattern in patterns.values()}) == 2
