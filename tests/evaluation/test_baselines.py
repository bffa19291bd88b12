from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import worlds
from contracts.scorer import ScorerContract
from tastevec.data.value_scale import ValueScale
from tastevec.errors import DataError
from tastevec.evaluation import baselines as linear
from tastevec.evaluation import baselines as neighbors
from tastevec.evaluation.baselines import (
    ALS,
    EASE,
    GlobalMeanVector,
    ItemKNN,
    LaggedRegression,
    LastItems,
    MeanPositive,
    PerHorizon,
    Popularity,
    RecentPopularity,
    WeightedMean,
    positive_matrix,
)
from tastevec.evaluation.scorers import EncodedScorer, fitted_parts
from tastevec.items.als import AlsSettings
from users import TAGGED, users, world

FROM = 4.0
DAY = 86_400
# Items of one taste point one way, those of the other another; item 5 has no vector.
SPACE = np.array(
    [[1.0, 0.01 * item] if item < worlds.ITEMS // 2 else [0.01 * item, 1.0] for item in range(worlds.ITEMS)],
    np.float32,
)
SPACE[5] = 0


def _halves(histories, horizon):
    """Return the number of positives in each half of the items; the second half counts double at horizon next."""
    positives = positive_matrix(histories, worlds.ITEMS, FROM).toarray()
    sums = positives.reshape(len(histories), 2, worlds.ITEMS // 2).sum(axis=2)
    return sums * np.array([1, 2 if horizon == "next" else 1], np.float32)


MAKERS = {
    "popularity": lambda: Popularity(positive_from=FROM),
    "recent": lambda: RecentPopularity(positive_from=FROM),
    "constant": lambda: GlobalMeanVector(SPACE, space="tiny", positive_from=FROM),
    "mean of positives": lambda: MeanPositive(SPACE, space="tiny", positive_from=FROM),
    "rating-weighted mean": lambda: WeightedMean(SPACE, space="tiny", positive_from=FROM),
    "item-kNN": lambda: ItemKNN(positive_from=FROM, neighbors=3, shrink=0.0),
    "item-kNN, shrunk": lambda: ItemKNN(positive_from=FROM),
    "lagged item-kNN": lambda: ItemKNN(positive_from=FROM, neighbors=3, shrink=0.0, decay=1.0),
    "lagged item regression": lambda: LaggedRegression(positive_from=FROM),
    "EASE": lambda: EASE(positive_from=FROM, ridge=1.0),
    "iALS": lambda: ALS(
        AlsSettings(ValueScale.explicit(1, 5), dim=4, regularization=0.1), positives_only=True
    ),
    "iALS of more": lambda: ALS(
        AlsSettings(ValueScale.explicit(1, 5), dim=4, regularization=0.1), positives_only=False
    ),
    "encoded": lambda: EncodedScorer("halves", "tiny", SPACE, _halves),
    "last only": lambda: LastItems(EASE(positive_from=FROM), 3),
    "last only of neighbours": lambda: LastItems(ItemKNN(positive_from=FROM)),
    "per horizon": lambda: PerHorizon(
        "EASE", overall=EASE(positive_from=FROM, ridge=1.0), next=EASE(positive_from=FROM, ridge=9.0)
    ),
}


class TestEveryBaseline(ScorerContract):
    """The scorer contract for every baseline."""

    @pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
    def make(self, request):
        return request.param


def test_popularity_counts_positives():
    train = users([(0, 5), (1, 3), (2, TAGGED)], [(0, 4), (2, 5)])
    scorer = Popularity(positive_from=FROM)
    scorer.fit(train, 4)
    assert scorer.score(users([(0, 1)])).tolist() == [[2, 0, 1, 0]]


def test_recent_popularity_counts_last_days():
    train = users([(0, 5, 0), (1, 5, 0), (2, 5, 100 * DAY)], [(1, 5, 0), (3, 1, 100 * DAY)])
    scorer = RecentPopularity(positive_from=FROM, days=30)
    scorer.fit(train, 4)
    assert np.argsort(-scorer.score(users([]))[0]).tolist() == [2, 1, 0, 3]


def test_recent_popularity_without_timestamps_is_refused():
    with pytest.raises(DataError, match="no training interaction has a time"):
        RecentPopularity(positive_from=FROM).fit(users([(0, 5)]), 1)


def test_global_mean_vector_is_mean_of_unit_vectors():
    vectors = np.array([[2, 0], [0, 3], [9, 9]], np.float32)
    scorer = GlobalMeanVector(vectors, space="s", positive_from=FROM)
    scorer.fit(users([(0, 5), (2, 1)], [(0, 4), (1, 5), (0, 5)]), 3)
    np.testing.assert_allclose(scorer.vectors(users([], [])), [[0.75, 0.25]] * 2)
    assert scorer.name == "global mean vector (s)"


def test_mean_positive_falls_back_to_global_mean_vector():
    vectors = np.array([[2, 0], [0, 4], [0, 0]], np.float32)
    scorer = MeanPositive(vectors, space="s", positive_from=FROM)
    scorer.fit(users([(0, 5)]), 3)
    task_record = users([(0, 5), (1, 4)], [(1, 3)], [(2, 5)], [])
    np.testing.assert_allclose(scorer.vectors(task_record), [[1, 2], [1, 0], [1, 0], [1, 0]])


def test_weighted_mean_points_away_from_disliked_items():
    vectors = np.array([[2, 0], [0, 4], [0, 0]], np.float32)
    scorer = WeightedMean(vectors, space="s", positive_from=FROM)
    scorer.fit(users([(0, 5)]), 3)
    # 5 and 1 are +1 and -1 for this scale; a constant rating and a tag normalize to 0.
    task_record = users([(0, 5), (1, 1)], [(0, 5), (1, 5)], [(0, TAGGED)], [])
    np.testing.assert_allclose(scorer.vectors(task_record), [[1, -2], [1, 0], [1, 0], [1, 0]])
    assert scorer.name == "rating-weighted mean (s)"


# Positives: item 0 of three users, 1 of two of them, 2 of one of these and of another user, 3 of none.
TRIANGLE = users([(0, 5), (1, 5), (2, 5)], [(0, 5), (1, 4)], [(0, 5), (3, 1)], [(2, 5)])


def test_item_knn_similarity_is_cosine_of_raters():
    scorer = ItemKNN(positive_from=FROM, neighbors=3, shrink=0.0)
    scorer.fit(TRIANGLE, 4)
    likeness = scorer.score(users(*[[(item, 5)] for item in range(4)]))
    near, far, middle = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 2), 1 / np.sqrt(2 * 2)
    np.testing.assert_allclose(
        likeness, [[0, near, far, 0], [near, 0, middle, 0], [far, middle, 0, 0], [0, 0, 0, 0]], rtol=1e-6
    )
    assert scorer.score(users([(0, 5), (1, 5), (3, 1)]))[0, 2] == pytest.approx(far + middle)


def test_item_knn_shrinkage_lowers_rare_similarities():
    scorer = ItemKNN(positive_from=FROM, neighbors=3, shrink=10.0)
    scorer.fit(TRIANGLE, 4)
    assert scorer.score(users([(0, 5)]))[0, 1] == pytest.approx(2 / (np.sqrt(3 * 2) + 10))


def test_item_knn_uses_nearest_neighbors_only():
    scorer = ItemKNN(positive_from=FROM, neighbors=1, shrink=0.0)
    scorer.fit(TRIANGLE, 4)
    heard = scorer.score(users(*[[(item, 5)] for item in range(4)])) > 0
    # 0 has 1, 1 has 0, and 2 has 1, which is nearer than 0.
    assert np.argwhere(heard).tolist() == [[0, 1], [1, 0], [1, 2]]


def test_lagged_item_knn_prefers_neighbors_of_the_latest():
    scorer = ItemKNN(positive_from=FROM, shrink=0.0, decay=1.0)
    scorer.fit(users([(0, 5), (1, 5)], [(2, 5), (3, 5)]), 4)
    scores = scorer.score(users([(0, 5), (2, 5)], [(2, 5), (0, 5), (3, 1)]))
    np.testing.assert_allclose(scores[:, [1, 3]], [[1 / 2, 1], [1 / 2, 1 / 3]])


def test_lagged_regression_wants_positives_first():
    train = users(*[[(0, 5), (1, 5)], [(0, 5), (2, 1)]] * 5)
    scorer = LaggedRegression(positive_from=FROM)
    scorer.fit(train, 4)
    scores = scorer.score(users([(3, 5), (0, 2)]))[0]
    assert scores[1] > scores[2] > scores[3] == 0


def test_item_knn_in_blocks_is_equal(monkeypatch):
    whole = MAKERS["item-kNN"]()
    whole.fit(world(), worlds.ITEMS)
    monkeypatch.setattr(neighbors, "_CELLS", 1)  # one item at a time
    single = MAKERS["item-kNN"]()
    single.fit(world(), worlds.ITEMS)
    np.testing.assert_array_equal(whole.score(world()), single.score(world()))


def test_item_knn_memory_is_bounded(monkeypatch):
    items = 4_000  # squared, at four bytes: 64 MB
    train = users(*[[(item, 5), (item + 1, 5)] for item in range(items - 1)])
    scorer = ItemKNN(positive_from=FROM, neighbors=2, shrink=0.0)
    monkeypatch.setattr(neighbors, "_CELLS", 1 << 16)
    tracemalloc.start()
    scorer.fit(train, 50_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    assert np.flatnonzero(scorer.score(users([(7, 5)]))[0]).tolist() == [6, 8]


def test_item_knn_without_positives_scores_zero():
    scorer = ItemKNN(positive_from=FROM)
    scorer.fit(users([(0, 1)]), 3)
    assert scorer.score(users([(0, 5)])).tolist() == [[0, 0, 0]]


def test_per_horizon_uses_scorer_of_horizon():
    overall, following = EASE(positive_from=FROM, ridge=1.0), EASE(positive_from=FROM, ridge=9.0)
    scorer = PerHorizon("EASE", overall=overall, next=following)
    scorer.fit(world(), worlds.ITEMS)
    assert scorer.at_horizon("overall") is overall
    assert scorer.at_horizon("next") is following
    np.testing.assert_array_equal(scorer.score(world()), following.score(world()))


def test_fitted_parts_are_the_leaf_scorers():
    one, other = Popularity(positive_from=FROM), EASE(positive_from=FROM)
    assert fitted_parts(one) == (one,)
    assert fitted_parts(LastItems(one)) == (one,)
    assert fitted_parts(PerHorizon("p", overall=one, next=LastItems(other))) == (one, other)
    assert fitted_parts(PerHorizon("p", overall=one, next=one)) == (one,)


def test_ease_weights_solve_ridge_regression():
    positives = positive_matrix(world(), worlds.ITEMS, FROM).toarray()
    scorer = EASE(positive_from=FROM, ridge=3.0)
    scorer.fit(world(), worlds.ITEMS)
    everything = users(*[[(item, 5)] for item in range(worlds.ITEMS)])
    weights = scorer.score(everything)
    assert np.diag(weights) == pytest.approx(0)
    # One item's column is the ridge regression on all other items.
    for item in (0, 13):
        others = np.arange(worlds.ITEMS) != item
        normal = positives[:, others].T @ positives[:, others] + 3.0 * np.eye(worlds.ITEMS - 1)
        expected = np.linalg.solve(normal, positives[:, others].T @ positives[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-5)


def test_ease_of_large_catalog_uses_most_popular_items(monkeypatch):
    monkeypatch.setattr(linear, "_MAX_ITEMS", 2)
    scorer = EASE(positive_from=FROM, ridge=1.0)
    scorer.fit(users([(0, 5), (1, 5), (3, 5)], [(1, 5), (3, 5)]), 5)
    scores = scorer.score(users([(1, 5)]))[0]
    assert scores[3] > 0
    assert scores[[0, 2, 4]].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "name", ["EASE", "iALS", "mean of positives", "rating-weighted mean", "item-kNN", "lagged item-kNN"]
)
def test_baseline_prefers_items_of_same_taste(name):
    scorer = MAKERS[name]()
    scorer.fit(world(), worlds.ITEMS)
    scores = scorer.score(users([(0, 5), (2, 5), (3, 4), (14, 1)], [(11, 5), (12, 5), (13, 4), (1, 1)]))
    halves = scores.reshape(2, 2, worlds.ITEMS // 2).mean(axis=2)
    assert halves[0, 0] > halves[0, 1]
    assert halves[1, 1] > halves[1, 0]


def test_last_items_ignores_older_items():
    scorer = LastItems(EASE(positive_from=FROM), 2)
    scorer.fit(world(), worlds.ITEMS)
    long, short = users([(0, 5), (11, 5), (12, 5)]), users([(11, 5), (12, 5)])
    np.testing.assert_array_equal(scorer.score(long), scorer.score(short))
    assert scorer.name == "EASE (positives), last 2 items"


def test_als_of_positives_ignores_other_ratings():
    scorer = MAKERS["iALS"]()
    scorer.fit(world(), worlds.ITEMS)
    scores = scorer.score(users([(0, 5)], [(0, 5), (13, 1), (15, TAGGED)]))
    np.testing.assert_array_equal(scores[0], scores[1])


def test_als_spaces_of_seeds_differ():
    made = [
        ALS(AlsSettings(ValueScale.explicit(1, 5), dim=4, seed=seed), positives_only=False) for seed in (1, 2)
    ]
    made[0].fit(world(), worlds.ITEMS)
    user = users([(0, 5), (1, 3)])
    np.testing.assert_array_equal(made[0].vectors(user) @ made[0].item_vectors.T, made[0].score(user))
    assert made[0].space != made[1].space


def test_encoded_scorer_ranks_items_without_vector_last():
    scorer = MAKERS["encoded"]()
    user = users([(0, 5), (1, 5), (11, 5)])
    assert scorer.vectors(user).tolist() == [[2, 2]]
    assert scorer.at_horizon("overall").vectors(user).tolist() == [[2, 1]]
    assert scorer.score(user)[0].argmin() == 5  # the item without a vector
