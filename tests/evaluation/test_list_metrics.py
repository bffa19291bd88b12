from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tastevec.evaluation import metrics as lists
from tastevec.evaluation.metrics import (
    coverage,
    gini,
    intra_list_similarity,
    log_popularity,
    novelty,
    recommendation_counts,
)

ITEMS = 50


@pytest.fixture(scope="module")
def ranked():
    """30 lists of 10 items, some of them shorter."""
    rng = np.random.default_rng(5)
    lists = np.stack([rng.permutation(ITEMS)[:10] for _ in range(30)])
    lists[np.arange(10) >= rng.integers(3, 11, 30)[:, None]] = -1
    return lists


@pytest.fixture(scope="module")
def items():
    """Item vectors, the first five of them zero."""
    vectors = np.random.default_rng(6).standard_normal((ITEMS, 4))
    vectors[:5] = 0
    return vectors


def test_intra_list_similarity_is_mean_cosine_of_pairs(ranked, items):
    units = items / np.maximum(1e-12, np.linalg.norm(items, axis=1, keepdims=True))
    for row, found in zip(ranked, intra_list_similarity(ranked, items), strict=True):
        pairs = [units[a] @ units[b] for a, b in combinations(row[row >= 5], 2)]
        assert found == pytest.approx(np.mean(pairs))


def test_intra_list_similarity_in_chunks_is_equal(ranked, items, monkeypatch):
    whole = intra_list_similarity(ranked, items)
    monkeypatch.setattr(lists, "_USERS", 7)
    np.testing.assert_array_equal(intra_list_similarity(ranked, items), whole)


def test_gini_is_half_mean_difference_over_mean():
    counts = np.random.default_rng(7).integers(0, 40, 60)
    expected = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert gini(counts) == pytest.approx(expected)


def test_gini_without_recommendations_is_nan():
    assert np.isnan(gini(np.zeros(4, np.int64)))


def test_list_of_unrated_items_has_maximum_novelty():
    nothing = np.zeros(3, np.int64)
    assert novelty(np.array([[0, 1]]), nothing, 1023).tolist() == [10]
    assert log_popularity(np.array([[0, 1]]), nothing).tolist() == [0]


def test_metrics_of_empty_list_are_nan():
    empty = np.full((1, 3), -1)
    raters = np.array([1, 2])
    assert np.isnan(log_popularity(empty, raters)).all()
    assert np.isnan(novelty(empty, raters, 9)).all()
    assert np.isnan(intra_list_similarity(empty, np.ones((2, 2)))).all()


def test_coverage_counts_each_item_once():
    counts = recommendation_counts(np.array([[0, 1], [0, 2], [0, -1]]), 6)
    assert counts.tolist() == [3, 1, 1, 0, 0, 0]
    assert coverage(counts) == 0.5
