from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.stats import skew
from sklearn.metrics.pairwise import cosine_distances, paired_cosine_distances
from sklearn.neighbors import NearestNeighbors

from tastevec.evaluation import geometry as shape
from tastevec.evaluation.geometry import (
    between_user_cosine,
    effective_rank,
    hubness,
    split_half_accuracy,
    split_half_cosine,
    top_direction,
)


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(8).standard_normal((200, 6)) + 0.5


def test_hubness_equals_skewness_of_sklearn_neighbors(vectors):
    around = NearestNeighbors(n_neighbors=10, metric="cosine").fit(vectors)
    counts = np.bincount(around.kneighbors(return_distance=False).ravel(), minlength=len(vectors))
    assert hubness(vectors, 10) == pytest.approx(skew(counts))


def test_hubness_in_chunks_is_equal(vectors, monkeypatch):
    whole = hubness(vectors, 10)
    monkeypatch.setattr(shape, "_CELLS", 3 * len(vectors))
    assert hubness(vectors, 10) == whole


def test_hubness_of_equal_vectors_is_nan():
    assert np.isnan(hubness(np.ones((5, 2)), 2))  # all in one place
    assert np.isnan(hubness(np.eye(4), 10))  # all are neighbors of all, as there are only 3 others
    assert np.isnan(hubness(np.ones((1, 2)), 10))


def test_shared_direction_lowers_effective_rank(vectors):
    ball = vectors - vectors.mean(axis=0)
    assert top_direction(ball + 10) > 0.9
    assert top_direction(ball) < 0.3
    assert effective_rank(ball + 10) < effective_rank(ball)


@pytest.mark.parametrize("users", [3, 200])
def test_effective_rank_and_top_direction_equal_svd(vectors, users):
    lengths = np.linalg.svd(vectors[:users], compute_uv=False)
    shares = lengths / lengths.sum()
    assert effective_rank(vectors[:users]) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))))
    assert top_direction(vectors[:users]) == pytest.approx(lengths[0] ** 2 / np.sum(lengths**2))


def test_equal_vectors_have_effective_rank_one():
    same_vector = np.tile(np.random.default_rng(9).standard_normal(64), (5000, 1))
    assert effective_rank(same_vector) == pytest.approx(1, abs=1e-12)


def test_geometry_of_zero_vectors_is_nan():
    nothing = np.zeros((3, 2))
    assert np.isnan(effective_rank(nothing))
    assert np.isnan(top_direction(nothing))


def test_between_user_cosine_uses_next_user(vectors):
    first, second = vectors[:100], vectors[100:]
    np.testing.assert_allclose(split_half_cosine(first, second), 1 - paired_cosine_distances(first, second))
    others = between_user_cosine(first, second)
    np.testing.assert_allclose(others[:-1], split_half_cosine(first[:-1], second[1:]))
    np.testing.assert_allclose(others[-1:], split_half_cosine(first[-1:], second[:1]))


def test_between_user_cosine_of_single_user_is_nan():
    assert np.isnan(between_user_cosine(np.ones((1, 2)), np.ones((1, 2)))).all()
    assert len(between_user_cosine(np.ones((0, 2)), np.ones((0, 2)))) == 0


def test_split_half_accuracy_counts_farther_users(vectors):
    first, second = vectors[:12], vectors[:12] + vectors[100:112]
    cosines = 1 - cosine_distances(first, second)
    beaten = (cosines < np.diag(cosines)[:, None]).sum(axis=1) / 11
    assert 0 < beaten.mean() < 1
    np.testing.assert_allclose(
        split_half_accuracy(first, second), beaten
    )  # 11 others are fewer than 20: all are met


def test_split_half_accuracy_uses_even_steps():
    """Six users on an arc; the second half of a user is the nearer, the lower the index."""
    angles = np.deg2rad([10, 20, 30, 40, 50, 60])
    first, second = np.tile([1.0, 0.0], (6, 1)), np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = split_half_accuracy(first, second, others=3)  # those 1, 3 and 5 places on
    np.testing.assert_allclose(found, np.array([3, 2, 2, 1, 1, 0]) / 3)


def test_split_half_accuracy_of_equal_vectors_is_half():
    rng = np.random.default_rng(3)
    same_vector = np.tile(rng.standard_normal(64).astype(np.float32), (50, 1))
    assert split_half_accuracy(same_vector, 3 * same_vector).tolist() == [0.5] * 50
    assert split_half_accuracy(np.zeros((4, 2)), np.zeros((4, 2))).tolist() == [0.5] * 4
    first, second = rng.standard_normal((2, 5000, 8))
    assert split_half_accuracy(first, second).mean() == pytest.approx(0.5, abs=0.02)


def test_split_half_accuracy_of_single_user_is_nan():
    assert np.isnan(split_half_accuracy(np.ones((1, 2)), np.ones((1, 2)))).all()
    assert len(split_half_accuracy(np.ones((0, 2)), np.ones((0, 2)))) == 0


def test_split_half_accuracy_memory_is_bounded():
    first, second = np.random.default_rng(4).standard_normal((2, 20_000, 16))
    tracemalloc.start()
    split_half_accuracy(first, second)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * first.nbytes
