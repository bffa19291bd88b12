from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import skew
from sklearn.metrics.pairwise import paired_cosine_distances
from sklearn.neighbors import NearestNeighbors

from tastevec.evaluation.metrics import (
    effective_rank,
    halves_cosine,
    hubness,
    shape,
    strangers_cosine,
    top_direction,
)


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(8).standard_normal((200, 6)) + 0.5


def test_hubness_is_the_skewness_of_how_often_sklearn_finds_each_as_a_neighbour(vectors):
    around = NearestNeighbors(n_neighbors=10, metric="cosine").fit(vectors)
    counts = np.bincount(around.kneighbors(return_distance=False).ravel(), minlength=len(vectors))
    assert hubness(vectors, 10) == pytest.approx(skew(counts))


def test_the_size_of_the_chunks_changes_no_hub(vectors, monkeypatch):
    whole = hubness(vectors, 10)
    monkeypatch.setattr(shape, "_CELLS", 3 * len(vectors))
    assert hubness(vectors, 10) == whole


def test_without_differences_there_is_no_hub():
    assert np.isnan(hubness(np.ones((5, 2)), 2))  # all in one place
    assert np.isnan(hubness(np.eye(4), 10))  # everybody is everybody's neighbour, as there are only 3 others
    assert np.isnan(hubness(np.ones((1, 2)), 10))


def test_a_shared_direction_makes_one_cone_of_the_vectors(vectors):
    ball = vectors - vectors.mean(axis=0)
    assert top_direction(ball + 10) > 0.9
    assert top_direction(ball) < 0.3
    assert effective_rank(ball + 10) < effective_rank(ball)


@pytest.mark.parametrize("people", [3, 200])
def test_a_shape_is_that_of_the_singular_values(vectors, people):
    lengths = np.linalg.svd(vectors[:people], compute_uv=False)
    shares = lengths / lengths.sum()
    assert effective_rank(vectors[:people]) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))))
    assert top_direction(vectors[:people]) == pytest.approx(lengths[0] ** 2 / np.sum(lengths**2))


def test_one_vector_for_everybody_has_one_direction_to_the_last_digit():
    everybody = np.tile(np.random.default_rng(9).standard_normal(64), (5000, 1))
    assert effective_rank(everybody) == pytest.approx(1, abs=1e-12)


def test_vectors_of_zeros_have_no_shape():
    nothing = np.zeros((3, 2))
    assert np.isnan(effective_rank(nothing))
    assert np.isnan(top_direction(nothing))


def test_two_halves_of_one_person_are_compared_and_a_stranger_is_the_next_person(vectors):
    first, second = vectors[:100], vectors[100:]
    np.testing.assert_allclose(halves_cosine(first, second), 1 - paired_cosine_distances(first, second))
    strangers = strangers_cosine(first, second)
    np.testing.assert_allclose(strangers[:-1], halves_cosine(first[:-1], second[1:]))
    np.testing.assert_allclose(strangers[-1:], halves_cosine(first[-1:], second[:1]))


def test_one_person_alone_meets_no_stranger():
    assert np.isnan(strangers_cosine(np.ones((1, 2)), np.ones((1, 2)))).all()
    assert len(strangers_cosine(np.ones((0, 2)), np.ones((0, 2)))) == 0
