from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_distances, paired_cosine_distances

from tastevec.evaluation.metrics import cosine_distance, mean_direction, unit_rows, without_direction


def test_cosine_distance_equals_sklearn():
    left, right = np.random.default_rng(0).standard_normal((2, 30, 8))
    np.testing.assert_allclose(cosine_distance(left, right), paired_cosine_distances(left, right), atol=1e-12)


def test_cosine_distance_of_zero_vector_is_one():
    """As in sklearn's ``cosine_distances``; its ``paired_cosine_distances`` returns 0.5."""
    zeros, others = np.zeros((2, 3)), np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    assert (
        cosine_distance(zeros, others).tolist() == np.diag(cosine_distances(zeros, others)).tolist() == [1, 1]
    )


def test_without_direction_separates_items_with_shared_direction():
    rng = np.random.default_rng(1)
    items = (rng.standard_normal((500, 16)) + 3).astype(np.float32)
    one, other = items[:250], items[250:]
    assert cosine_distance(one, other).mean() < 0.15
    direction = mean_direction(items)
    apart = cosine_distance(without_direction(one, direction), without_direction(other, direction))
    assert apart.mean() == pytest.approx(1.0, abs=0.05)


def test_without_direction_is_independent_of_scale():
    rng = np.random.default_rng(2)
    vectors, direction = rng.standard_normal((5, 4)), unit_rows(rng.standard_normal((1, 4)))[0]
    once, twice = without_direction(vectors, direction), without_direction(2 * vectors, direction)
    np.testing.assert_allclose(unit_rows(once), unit_rows(twice))
    np.testing.assert_allclose(once @ direction, 0, atol=1e-12)
