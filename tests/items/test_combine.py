from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tastevec.items.cold_start import NORM_SCALE, initial_vectors


def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """30 well-known films whose factors are twice their content, then a cold, a little known, a bare, an empty one."""
    content = np.random.default_rng(0).normal(size=(34, 3)).astype(np.float32)
    collaborative = 2 * content + 1
    counts = np.full(34, 1000)
    counts[30:] = [0, 10, 10, 0]
    collaborative[30] = 0
    collaborative[31] = 0.25
    content[32:] = 0
    return collaborative, content, counts


@pytest.mark.parametrize("sparse", [False, True])
def test_a_cold_film_stands_where_its_content_says_and_further_out_as_one_that_comes_later(sparse):
    collaborative, content, counts = world()
    told = csr_matrix(content) if sparse else content
    start = initial_vectors(collaborative, told, counts, ridge=1e-6)
    assert start.vectors.dtype == np.float32
    np.testing.assert_allclose(start.vectors[30], NORM_SCALE * (2 * content[30] + 1), atol=0.1)


def test_a_well_known_film_stays_at_its_own_factors():
    collaborative, content, counts = world()
    start = initial_vectors(collaborative + 0.0, content, counts, shrinkage=1e-9)
    np.testing.assert_allclose(start.vectors[:30], collaborative[:30], atol=1e-6)


def test_between_them_the_number_of_people_decides():
    collaborative, content, counts = world()
    start = initial_vectors(collaborative, content, counts, shrinkage=30, ridge=1e-6)
    predicted = NORM_SCALE * (2 * content[31] + 1)
    # Not closer, since the film itself, which stands elsewhere, has a little part in the prediction.
    np.testing.assert_allclose(start.vectors[31], 0.25 * collaborative[31] + 0.75 * predicted, atol=0.3)


def test_a_film_without_content_keeps_its_factors_and_one_with_neither_has_zeros():
    collaborative, content, counts = world()
    start = initial_vectors(collaborative, content, counts)
    np.testing.assert_array_equal(start.vectors[32], collaborative[32])
    assert not start.vectors[33].any()
    assert start.origins[29:].tolist() == ["both", "content", "both", "collaborative", "none"]


def test_with_nobody_to_learn_from_everything_is_zero():
    collaborative, content, counts = world()
    start = initial_vectors(collaborative, content, np.zeros_like(counts))
    assert not start.vectors.any()
    assert set(start.origins) == {"none"}


def test_the_arguments_are_left_as_they_were():
    arguments = world()
    initial_vectors(*arguments)
    for before, after in zip(world(), arguments, strict=True):
        np.testing.assert_array_equal(before, after)
