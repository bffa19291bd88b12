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
    """30 lists of 10 films, some of them with empty places at the end."""
    rng = np.random.default_rng(5)
    lists = np.stack([rng.permutation(ITEMS)[:10] for _ in range(30)])
    lists[np.arange(10) >= rng.integers(3, 11, 30)[:, None]] = -1
    return lists


@pytest.fixture(scope="module")
def items():
    """Film vectors, those of the first five films missing."""
    vectors = np.random.default_rng(6).standard_normal((ITEMS, 4))
    vectors[:5] = 0
    return vectors


def test_intra_list_similarity_is_the_mean_cosine_of_the_pairs_that_have_vectors(ranked, items):
    units = items / np.maximum(1e-12, np.linalg.norm(items, axis=1, keepdims=True))
    for row, found in zip(ranked, intra_list_similarity(ranked, items), strict=True):
        pairs = [units[a] @ units[b] for a, b in combinations(row[row >= 5], 2)]
        assert found == pytest.approx(np.mean(pairs))


def test_the_size_of_the_groups_changes_no_similarity(ranked, items, monkeypatch):
    whole = intra_list_similarity(ranked, items)
    monkeypatch.setattr(lists, "_USERS", 7)
    np.testing.assert_array_equal(intra_list_similarity(ranked, items), whole)


def test_gini_is_half_of_the_mean_difference_over_the_mean():
    counts = np.random.default_rng(7).integers(0, 40, 60)
    expected = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert gini(counts) == pytest.approx(expected)


def test_gini_of_no_recommendation_is_no_number():
    assert np.isnan(gini(np.zeros(4, np.int64)))


def test_a_list_of_films_that_nobody_rated_is_as_novel_as_can_be_and_not_popular_at_all():
    nobody = np.zeros(3, np.int64)
    assert novelty(np.array([[0, 1]]), nobody, 1023).tolist() == [10]
    assert log_popularity(np.array([[0, 1]]), nobody).tolist() == [0]


def test_an_empty_list_has_no_value():
    empty = np.full((1, 3), -1)
    raters = np.array([1, 2])
    assert np.isnan(log_popularity(empty, raters)).all()
    assert np.isnan(novelty(empty, raters, 9)).all()
    assert np.isnan(intra_list_similarity(empty, np.ones((2, 2)))).all()


def test_coverage_counts_a_film_once_however_often_it_is_recommended():
    counts = recommendation_counts(np.array([[0, 1], [0, 2], [0, -1]]), 6)
    assert counts.tolist() == [3, 1, 1, 0, 0, 0]
    assert coverage(counts) == 0.5
